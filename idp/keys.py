"""The key ring over a folder of private keys: sign, verify, publish, rotate.

A key's file name says all there is to know of it, so that every process and node that shares the folder agrees
without a table: `20261124T120000Z-ES256-<kid>.pem` signs from that instant on, until a younger key of the same
algorithm takes over. It is published from the moment it lies there, and for one JWKS cache lifetime and one token
lifetime after it last signed (security.md T-11).
"""

import json
import os
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from idp_kit.errors import InvalidToken
from idp_kit.tokens import SignatureRegistry, check_times, verify_jwt
from joserfc.jwk import ECKey, KeyParameters, OKPKey, RSAKey

from idp import policy

_KINDS: dict[str, type[ECKey] | type[RSAKey] | type[OKPKey]] = {
    "ES256": ECKey,
    "RS256": RSAKey,
    "PS256": RSAKey,
    "EdDSA": OKPKey,
}
ALGORITHMS = tuple(_KINDS)
"""What the ring signs with, each with a key of its own. Verifiers name these and no others (RFC 8725 section 3.1)."""

_NAME_TIME = "%Y%m%dT%H%M%SZ"
_LOOK_EVERY = 1.0  # seconds between two looks at the names in the folder
PublishedState = Literal["next", "current", "previous"]
Key = ECKey | RSAKey | OKPKey


_SIGNERS = {alg: SignatureRegistry(algorithms=[alg]).get_alg(alg) for alg in ALGORITHMS}
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_VERIFIED_MAX = 1024
"""Tokens whose signature is remembered as good; a worker then holds some 2 MiB of them."""


class KeyProblem(Exception):
    """The keys folder cannot be used; the text says what is wrong, and shows no key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One private key, parsed, with the algorithm it is for."""

    kid: str
    alg: str
    signs_from: datetime
    path: Path
    private: Key
    public: Key
    sign: Callable[[bytes], bytes]
    """Of a JWS signing input, its signature (RFC 7515 section 5.1 step 5)."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature, header and form were found good."""

    key: SigningKey
    typ: str
    claims: dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """A key as an operator sees it."""

    kid: str
    alg: str
    state: PublishedState
    signs_from: datetime
    published_until: datetime | None


class KeyRing:
    """The keys of one folder. Parsed once; read again when a name in it changes, which is looked at once a second, and
    before a key is called unknown: what one node has signed, every other that shares the folder verifies at once."""

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        """`strict` refuses key files that others than their owner can read (security.md O-1)."""
        self._folder = folder
        self._strict = strict
        self._lock = threading.Lock()
        self._seen: list[Path] | None = None
        self._looked_at = -_LOOK_EVERY
        self._keys: tuple[SigningKey, ...] = ()
        self._by_kid: dict[str, SigningKey] = {}
        self._headers: dict[tuple[str, str], bytes] = {}
        self._verified: dict[str, _Verified] = {}
        self._jwks: tuple[list[SigningKey], dict[str, Any]] | None = None

    # -- use ---------------------------------------------------------------------------------------------------------

    def sign(self, claims: dict[str, Any], *, typ: str, alg: str, now: datetime) -> str:
        """A compact JWS over `claims`, signed with the present key of `alg`; `KeyProblem` if there is none."""
        key = self._current(alg, now)
        header = self._headers.get((key.kid, typ))
        if header is None:
            header = self._headers[key.kid, typ] = _segment({"alg": alg, "kid": key.kid, "typ": typ})
        # RFC 7515 section 5.1, steps 2 to 7, without asking of our own key what it is for.
        signed = header + b"." + _segment(claims)
        return (signed + b"." + _base64url(key.sign(signed))).decode("ascii")

    def verify(self, token: str, *, typ: str, now: datetime, leeway: timedelta = policy.CLOCK_SKEW) -> dict[str, Any]:
        """The claims of a token of ours, of kind `typ` and valid at `now`; `InvalidToken` otherwise.

        That a signature is good is remembered; whether its key is still trusted, and the time, is asked each time.
        """
        known = self._verified.get(token)
        if known is not None and known.typ == typ and self._find(known.key.kid) is known.key:
            if not self._is_published(known.key, now):
                raise InvalidToken("unknown key")
            check_times(known.claims, now=now, leeway=leeway)
            return dict(known.claims)
        found: list[SigningKey] = []

        def find_key(kid: str) -> Key | None:
            key = self._find(kid)
            if key is None or not self._is_published(key, now):
                return None
            found.append(key)
            return key.public

        claims = verify_jwt(token, find_key=find_key, algorithms=ALGORITHMS, typ=typ, now=now, leeway=leeway)
        if len(self._verified) >= _VERIFIED_MAX:
            self._verified.clear()
        self._verified[token] = _Verified(found[0], typ, dict(claims))
        return claims

    def jwks(self, now: datetime) -> dict[str, Any]:
        """The published keys as a JWK Set (RFC 7517 section 5), youngest first.

        The very same object for as long as the same keys are published, so that it need be encoded only once.
        """
        published = self._published(now)
        if self._jwks is None or self._jwks[0] != published:
            self._jwks = published, {"keys": [key.public.as_dict(private=False) for key in published]}
        return self._jwks[1]

    def check_ready(self, now: datetime) -> None:
        """Raise `KeyProblem` unless the ring can sign with each of its algorithms."""
        for alg in ALGORITHMS:
            self._current(alg, now)

    # -- keep --------------------------------------------------------------------------------------------------------

    def describe(self, now: datetime) -> list[KeyStatus]:
        """Every published key with its state, youngest first."""
        return [
            KeyStatus(key.kid, key.alg, self._state(key, now), key.signs_from, self._published_until(key))
            for key in self._published(now)
        ]

    def ensure(self, now: datetime) -> list[str]:
        """Make what is missing to sign with each algorithm; the key ids made. Idempotent."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._refresh(force=True)
        have = {key.alg for key in self._keys if key.signs_from <= now}
        return [self._make(alg, now) for alg in ALGORITHMS if alg not in have]

    def rotate(self, now: datetime, *, at_once: bool = False, algorithms: Collection[str] = ALGORITHMS) -> list[str]:
        """Publish a next key for each of these, which signs after one JWKS cache lifetime, or now if `at_once`.

        While a next key waits, calling this again changes nothing; `at_once` makes it sign now. The ids of the keys
        made or brought forward.
        """
        self._refresh(force=True)
        signs_from = now if at_once else now + policy.JWKS_CACHE_LIFETIME
        changed = []
        for alg in algorithms:
            waiting = [key for key in self._keys if key.alg == alg and key.signs_from > now]
            if not waiting:
                changed.append(self._make(alg, signs_from))
            elif at_once:
                key = min(waiting, key=lambda each: each.signs_from)
                key.path.rename(self._folder / _file_name(now, alg, key.kid))
                changed.append(key.kid)
        self._refresh(force=True)
        return changed

    def retire(self, kid: str, now: datetime) -> None:
        """Stop trusting a key at once: what it signed is refused from now on. Its file keeps the ending `.retired`.

        The only key that can sign an algorithm is refused: rotate first. `KeyProblem` says so.
        """
        self._refresh(force=True)
        key = self._by_kid.get(kid)
        if key is None:
            raise KeyProblem("no published key has this id")
        if self._current(key.alg, now).kid == kid:
            others = [k for k in self._keys if k.alg == key.alg and k.kid != kid and k.signs_from <= now]
            if not others:
                raise KeyProblem("this key signs; make another sign first: idp keys rotate --now")
        key.path.rename(key.path.with_suffix(".retired"))
        self._refresh(force=True)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _current(self, alg: str, now: datetime) -> SigningKey:
        self._refresh()
        of_alg = [key for key in self._keys if key.alg == alg]
        for key in of_alg:  # youngest first
            if key.signs_from <= now:
                return key
        if of_alg:
            # Our clock is behind that of the node which made the first key (F-10). Nobody knows an older one.
            return of_alg[-1]
        raise KeyProblem(f"no key in {self._folder.name}/ can sign {alg}: run idp init")

    def _find(self, kid: str) -> SigningKey | None:
        self._refresh()
        if kid not in self._by_kid:
            # Another node may have made it a moment ago, and has signed with it already.
            self._refresh(at_once=True)
        return self._by_kid.get(kid)

    def _successor(self, key: SigningKey) -> SigningKey | None:
        younger = [k for k in self._keys if k.alg == key.alg and k.signs_from > key.signs_from]
        return min(younger, key=lambda each: each.signs_from, default=None)

    def _published_until(self, key: SigningKey) -> datetime | None:
        successor = self._successor(key)
        if successor is None:
            return None
        return successor.signs_from + policy.JWKS_CACHE_LIFETIME + policy.ID_TOKEN_LIFETIME + policy.CLOCK_SKEW

    def _is_published(self, key: SigningKey, now: datetime) -> bool:
        until = self._published_until(key)
        return until is None or now < until

    def _published(self, now: datetime) -> list[SigningKey]:
        self._refresh()
        return [key for key in self._keys if self._is_published(key, now)]

    def _state(self, key: SigningKey, now: datetime) -> PublishedState:
        if key.signs_from > now:
            return "next"
        return "current" if self._current(key.alg, now).kid == key.kid else "previous"

    def _make(self, alg: str, signs_from: datetime) -> str:
        key = _generate(alg)
        kid = key.thumbprint()
        path = self._folder / _file_name(signs_from, alg, kid)
        # Written under another name and moved, so that nobody ever reads half a key.
        partial = path.with_suffix(".part")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.as_pem(private=True))
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        self._refresh(force=True)
        return kid

    def _refresh(self, *, force: bool = False, at_once: bool = False) -> None:
        """Look at the folder if the last look is a while ago, or `at_once`; read it if it changed, or by `force`."""
        look = force or at_once
        if not look and self._is_fresh():
            return
        with self._lock:
            # Whoever waited here for the first reading finds it done.
            if not look and self._is_fresh():
                return
            try:
                # The names, not the folder's modification time: two changes of one tick of the file system look alike.
                paths = self._list()
                if paths == self._seen and not force:
                    self._looked_at = monotonic()
                    return
                try:
                    keys = self._read(paths)
                except FileNotFoundError:  # renamed since, by a rotation; its new name is there already
                    paths = self._list()
                    keys = self._read(paths)
            except OSError as error:
                raise KeyProblem(f"the keys folder {self._folder.name}/ cannot be read") from error
            keys.sort(key=lambda each: each.signs_from, reverse=True)
            self._by_kid = {key.kid: key for key in keys}
            self._keys = tuple(keys)
            self._seen = paths
            self._looked_at = monotonic()

    def _list(self) -> list[Path]:
        return [self._folder / name for name in sorted(os.listdir(self._folder)) if name.endswith(".pem")]

    def _read(self, paths: list[Path]) -> list[SigningKey]:
        known = {key.path: key for key in self._keys}
        return [known.get(path) or self._load(path) for path in paths]

    def _is_fresh(self) -> bool:
        return monotonic() - self._looked_at < _LOOK_EVERY

    def _load(self, path: Path) -> SigningKey:
        try:
            stamp, alg, kid = path.stem.split("-", 2)
            signs_from = datetime.strptime(stamp, _NAME_TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise KeyProblem(f"{path.name} is not named like a key of ours") from error
        if alg not in ALGORITHMS:
            raise KeyProblem(f"{path.name} is for an algorithm that is not served")
        if self._strict and path.stat().st_mode & 0o077:
            raise KeyProblem(f"{path.name} can be read by others than its owner: chmod 600 it")
        parameters: KeyParameters = {"kid": kid, "alg": alg, "use": "sig"}
        kind = _KINDS[alg]
        try:
            private = kind.import_key(path.read_bytes(), parameters)
            public = kind.import_key(private.as_dict(private=False), parameters)
        except ValueError as error:
            raise KeyProblem(f"{path.name} holds no {alg} key") from error
        if private.thumbprint() != kid:
            raise KeyProblem(f"{path.name} holds another key than its name says")
        return SigningKey(kid, alg, signs_from, path, private, public, _signer(alg, private))


def half_hash(value: str, alg: str) -> str:
    """`at_hash`, `c_hash` and `s_hash`: the left half of the hash that belongs to `alg` (OIDC Core section 3.1.3.6).

    For EdDSA that is SHA-512, the hash of Ed25519 itself.
    """
    raw = (sha512 if alg == "EdDSA" else sha256)(value.encode("utf-8")).digest()
    return urlsafe_b64encode(raw[: len(raw) // 2]).rstrip(b"=").decode("ascii")


def _signer(alg: str, key: Key) -> Callable[[bytes], bytes]:
    """What joserfc does with a key of this algorithm; for ES256, the one of every token, what is the same each time is
    done once."""
    if not isinstance(key, ECKey):
        return lambda message: _SIGNERS[alg].sign(message, key)
    private, how, size = key.get_op_key("sign"), ECDSA(SHA256()), (key.curve_key_size + 7) // 8

    def sign(message: bytes) -> bytes:
        # RFC 7518 section 3.4: R and S, big-endian, each as long as the curve's order.
        r, s = decode_dss_signature(private.sign(message, how))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def _segment(value: dict[str, Any]) -> bytes:
    return _base64url(_ENCODER.encode(value).encode("ascii"))


def _base64url(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


def _generate(alg: str) -> Key:
    kind = _KINDS[alg]
    if kind is ECKey:
        return ECKey.generate_key("P-256", private=True)
    return RSAKey.generate_key(2048, private=True) if kind is RSAKey else OKPKey.generate_key("Ed25519", private=True)


def _file_name(signs_from: datetime, alg: str, kid: str) -> str:
    return f"{signs_from.astimezone(UTC).strftime(_NAME_TIME)}-{alg}-{kid}.pem"


__all__ = ["ALGORITHMS", "InvalidToken", "KeyProblem", "KeyRing", "KeyStatus", "half_hash"]
