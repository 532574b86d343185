"""A client's JWK Set as it was handed in: public keys that we can use, each with what it is for (RFC 7517)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

PublicKey = ECKey | RSAKey | OKPKey

SIGNATURE_ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA")
"""What clients may sign with: by a private key, never by a shared secret or none (T-2)."""
ENCRYPTION_ALGORITHMS = ("RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW")
ENCRYPTION_METHODS = ("A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM")
"""What we encrypt with for a client: to its public key (RFC 7518 sections 4 and 5)."""

KEYS_MAX = 20
_KEY_ID_MAX = 256
_RSA_BITS_MIN = 2048
_RSA_BITS_MAX = 8192
# RFC 7518 section 6: members that no public key has, and `k` of a symmetric one.
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
_KINDS: dict[str, type[ECKey] | type[RSAKey] | type[OKPKey]] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}
_NEEDS: dict[str, tuple[str, frozenset[str]]] = {
    "ES256": ("EC", frozenset({"P-256"})),
    "RS256": ("RSA", frozenset()),
    "PS256": ("RSA", frozenset()),
    "EdDSA": ("OKP", frozenset({"Ed25519"})),
    "RSA-OAEP": ("RSA", frozenset()),
    "RSA-OAEP-256": ("RSA", frozenset()),
    **{alg: ("EC", frozenset({"P-256", "P-384", "P-521"})) for alg in ENCRYPTION_ALGORITHMS if alg[:2] == "EC"},
}


@dataclass(frozen=True, slots=True)
class ClientKey:
    """One public key of a client, and what the client says it is for; None where it says nothing."""

    key: PublicKey
    kty: str
    crv: str | None
    kid: str | None
    alg: str | None
    use: str | None

    def suits(self, alg: str, use: str) -> bool:
        """Whether the key is of the kind that `alg` needs for `use` (`sig` or `enc`), and meant for nothing else.

        RFC 8725 section 3.1.
        """
        kty, curves = _NEEDS[alg]
        if self.kty != kty or (curves and self.crv not in curves):
            return False
        return self.use in (None, use) and self.alg in (None, alg)


def read_key_set(value: object) -> tuple[ClientKey, ...]:
    """The keys of a JWK Set that we can use; others are left out, as RFC 7517 section 5 says.

    `ValueError` for what is no JWK Set, for one that is too large, and for one that gives away a private key.
    """
    keys = value.get("keys") if isinstance(value, Mapping) else None
    if not isinstance(keys, list | tuple) or len(keys) > KEYS_MAX:
        raise ValueError(f"a JWK Set holds an array of up to {KEYS_MAX} keys")
    found = []
    for member in keys:
        if not isinstance(member, Mapping):
            raise ValueError("a key of a JWK Set is an object")
        if not _PRIVATE_MEMBERS.isdisjoint(member) or member.get("kty") == "oct":
            raise ValueError("a JWK Set holds public keys only; this one gives away a private key")
        key = _read_key(member)
        if key is not None:
            found.append(key)
    return tuple(found)


def clean_key_set(value: object) -> dict[str, Any]:
    """The JWK Set with what we can use of it and nothing else. `ValueError` as for `read_key_set`."""
    cleaned = []
    for each in read_key_set(value):
        stated = {"kid": each.kid, "alg": each.alg, "use": each.use}
        material = each.key.as_dict(private=False)
        names = ("kty", *_MEMBERS[each.kty])
        cleaned.append(
            {name: material[name] for name in names} | {name: text for name, text in stated.items() if text is not None}
        )
    return {"keys": cleaned}


def _read_key(member: Mapping[str, Any]) -> ClientKey | None:
    kty = member.get("kty")
    if not isinstance(kty, str) or kty not in _KINDS:
        return None
    stated = {name: member.get(name) for name in ("kid", "alg", "use")}
    for each in stated.values():
        if each is not None and not (isinstance(each, str) and len(each) <= _KEY_ID_MAX and each.isprintable()):
            return None
    # Only what makes the key: certificates and addresses beside it (x5c, x5u) never decide anything.
    material: dict[str, Any] = {"kty": kty} | {name: member.get(name) for name in _MEMBERS[kty]}
    if not all(isinstance(each, str) for each in material.values()):
        return None
    if stated["kid"] is not None:
        material["kid"] = stated["kid"]
    try:
        # Six bits a character, the leading one set: measured before it is parsed.
        if kty == "RSA" and not _RSA_BITS_MIN <= len(material["n"].rstrip("=")) * 6 <= _RSA_BITS_MAX + 16:
            return None
        key = _KINDS[kty].import_key(material)
    except (JoseError, ValueError):
        return None
    return ClientKey(key, kty, material.get("crv"), **stated)
