"""The issuer's signing keys: fetched, kept for as long as it allows, found by name (RFC 7517)."""

import ipaddress
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException
from typing import Any
from urllib import request as urllib_request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from idp_kit.errors import KeysUnavailable

PublicKey = ECKey | RSAKey | OKPKey

DOCUMENT_BYTES_MAX = 64 * 1024
PATIENCE = timedelta(seconds=5)
"""How much of a discovery document or a JWKS is read, and how long is waited for it."""

_FRESH_MIN, _FRESH_MAX = 60.0, 3600.0  # seconds; what `Cache-Control: max-age` is held to
_STALE_MAX = 3600.0  # seconds that keys stay good while the issuer is down
_UNKNOWN_PAUSE = 30.0  # seconds between two fetches that an unknown key id or a dead issuer can cause
_EMPTY_PAUSE = 5.0  # the same, while there is no key at all

Fetch = Callable[[str], tuple[bytes, str]]
"""From an address to the body and the `Cache-Control` of its answer. Raises `KeysUnavailable` or `OSError`."""

_KINDS: dict[str, tuple[type[ECKey] | type[RSAKey] | type[OKPKey], str, str | None]] = {
    "ES256": (ECKey, "EC", "P-256"),
    "RS256": (RSAKey, "RSA", None),
    "PS256": (RSAKey, "RSA", None),
    "EdDSA": (OKPKey, "OKP", "Ed25519"),
}
_PUBLIC_MEMBERS = frozenset({"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"})
_RSA_BITS_MIN = 2048


@dataclass(frozen=True, slots=True)
class _Keys:
    by_kid: Mapping[str, PublicKey]
    fresh_until: float
    usable_until: float


class JwksCache:
    """The issuer's signing keys, fetched when needed and kept for as long as the issuer allows. Thread-safe.

    The address comes from the issuer's discovery document, or is given; it is https, or http where the issuer itself
    is on loopback. Redirects are not followed. Of the keys, those are taken that are for signatures, name their one
    algorithm, and are public.
    """

    def __init__(
        self,
        issuer: str,
        *,
        jwks_uri: str | None = None,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is fetched yet. `ValueError` for an address that is neither https nor on loopback."""
        self._issuer = issuer
        self._jwks_uri = jwks_uri
        self._fetch = fetch or fetch_document
        self._clock = clock
        self._turn = threading.Lock()
        self._attempted_at = float("-inf")
        self._keys = _Keys({}, float("-inf"), float("-inf"))
        for address in (issuer, jwks_uri or issuer):
            self._check_address(address)

    def find_key(self, kid: str) -> PublicKey | None:
        """The key with this id, or None. Raises `KeysUnavailable` where there are no keys to look among."""
        now, keys = self._clock(), self._keys
        if now >= keys.fresh_until:
            usable = now < keys.usable_until
            keys = self._renew(keys, _UNKNOWN_PAUSE if usable else _EMPTY_PAUSE, wait=not usable)
            if now >= keys.usable_until:
                raise KeysUnavailable("the issuer's keys could not be fetched")
        if kid not in keys.by_kid:
            keys = self._renew(keys, _UNKNOWN_PAUSE, wait=True)
        return keys.by_kid.get(kid)

    def _renew(self, seen: _Keys, pause: float, *, wait: bool) -> _Keys:
        """Fetch, unless another thread does or has done since `seen`, or an attempt was made within `pause`."""
        if not self._turn.acquire(blocking=wait):
            return seen
        try:
            if self._keys is not seen or self._clock() < self._attempted_at + pause:
                return self._keys
            try:
                self._keys = self._load(seen)
            except (KeysUnavailable, OSError, ValueError):
                return seen
            finally:
                self._attempted_at = self._clock()
            return self._keys
        finally:
            self._turn.release()

    def _load(self, seen: _Keys) -> _Keys:
        body, cache_control = self._fetch(self._jwks_uri or self._discover())
        by_kid = _read_jwks(_parse_document(body), seen.by_kid)
        fresh_until = self._clock() + _read_max_age(cache_control)
        return _Keys(by_kid, fresh_until, fresh_until + _STALE_MAX)

    def _discover(self) -> str:
        body, _ = self._fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        document = _parse_document(body)
        # OpenID Connect Discovery section 4.3: "The issuer value returned MUST be identical".
        if document.get("issuer") != self._issuer:
            raise KeysUnavailable("the discovery document is of another issuer")
        jwks_uri = document.get("jwks_uri")
        if not isinstance(jwks_uri, str):
            raise KeysUnavailable("the discovery document names no keys")
        self._check_address(jwks_uri)
        return jwks_uri

    def _check_address(self, address: str) -> None:
        parts, own = urlsplit(address), urlsplit(self._issuer)
        plain = parts.scheme == "http" and _is_loopback(parts.hostname) and _is_loopback(own.hostname)
        if not (parts.scheme == "https" or plain) or not parts.hostname or "@" in parts.netloc:
            raise ValueError("an address of the issuer must be https, or http on loopback")


def fetch_document(url: str, *, patience: timedelta = PATIENCE) -> tuple[bytes, str]:
    """GET `url`; `KeysUnavailable` for anything but a 200 of at most 64 KiB in time. A redirect is such a thing."""
    opener = urllib_request.OpenerDirector()
    # Composed by hand: the usual opener follows redirects and also reads `file:` and `ftp:`.
    for handler in (
        urllib_request.HTTPHandler(),
        urllib_request.HTTPSHandler(),
        urllib_request.HTTPDefaultErrorHandler(),
        urllib_request.HTTPErrorProcessor(),
        urllib_request.UnknownHandler(),
        urllib_request.ProxyHandler({} if _is_loopback(urlsplit(url).hostname) else None),
    ):
        opener.add_handler(handler)
    deadline = time.monotonic() + patience.total_seconds()
    asked = urllib_request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - handlers are http(s) only
    try:
        with opener.open(asked, timeout=patience.total_seconds()) as answer:
            body = b""
            while chunk := answer.read1(DOCUMENT_BYTES_MAX):
                body += chunk
                if len(body) > DOCUMENT_BYTES_MAX or time.monotonic() > deadline:
                    raise KeysUnavailable("the answer is too long or too slow")
            if answer.status != 200:
                raise KeysUnavailable("the answer is no document")
            return body, answer.headers.get("Cache-Control", "")
    except HTTPError as error:
        error.close()
        raise KeysUnavailable(f"the issuer answered {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise KeysUnavailable("the issuer did not answer") from error


def _parse_document(body: bytes) -> dict[str, Any]:
    if len(body) > DOCUMENT_BYTES_MAX:
        raise KeysUnavailable("the document is too long")
    return parse_object(body)


def _read_jwks(document: dict[str, Any], known: Mapping[str, PublicKey]) -> dict[str, PublicKey]:
    members = document.get("keys")
    if not isinstance(members, list):
        raise KeysUnavailable("the document is no JWK Set")
    by_kid: dict[str, PublicKey] = {}
    doubled = set()
    for jwk in members:
        key = _read_jwk(jwk, known) if isinstance(jwk, dict) else None
        if key is not None:
            kid = str(key.kid)
            if kid in by_kid:
                doubled.add(kid)
            by_kid[kid] = key
    # Two keys of one name: nobody could say which of them a token means.
    return {kid: key for kid, key in by_kid.items() if kid not in doubled}


def _read_jwk(jwk: dict[str, Any], known: Mapping[str, PublicKey]) -> PublicKey | None:
    """The key, or None where it is not one to verify with. One that is known already is not parsed again."""
    kid, alg = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str) or not isinstance(alg, str) or alg not in _KINDS or "d" in jwk:
        return None
    kind, kty, crv = _KINDS[alg]
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if jwk.get("kty") != kty or (crv is not None and jwk.get("crv") != crv):
        return None
    public = {name: member for name, member in jwk.items() if name in _PUBLIC_MEMBERS}
    before = known.get(kid)
    if before is not None and before.original_value == public:
        return before
    try:
        key = kind.import_key(public)
        if isinstance(key, RSAKey) and key.public_key.key_size < _RSA_BITS_MIN:
            return None
    except (JoseError, ValueError, TypeError):
        return None
    return key


def _read_max_age(cache_control: str) -> float:
    found = re.search(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})\b", cache_control, re.IGNORECASE)
    return min(max(float(found[1]) if found else 0.0, _FRESH_MIN), _FRESH_MAX)


def _is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that `raw` is; `ValueError` for anything else, and for a member that stands twice."""
    try:
        value = json.loads(raw, object_pairs_hook=_refuse_doubles, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
