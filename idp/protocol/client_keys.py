"""The keys of clients, as registered or fetched from their `jwks_uri`; what a client signed is read by them."""

import binascii
import threading
from base64 import b64decode
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from idp_kit.errors import InvalidToken
from idp_kit.jwks import parse_object
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

from idp import policy
from idp.protocol.clients import Client
from idp.protocol.fetch import Fetcher, FetchProblem
from idp.protocol.key_sets import SIGNATURE_ALGORITHMS, ClientKey, PublicKey, read_key_set

# RFC 8725 section 3.10, D-31: no key and no address of a key is taken from a header. A thumbprint of a certificate
# says nothing that decides, and some clients send it.
_HEADER_KNOWN = frozenset({"alg", "typ", "kid", "cty", "x5t", "x5t#S256"})
_PARSED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Signed:
    """A JWS whose signature was verified. Times and audience are the reader's to check."""

    header: Mapping[str, Any]
    claims: dict[str, Any]


@dataclass(slots=True)
class _Fetched:
    """What stands at a `jwks_uri`, as of the last look."""

    lock: threading.Lock
    keys: tuple[ClientKey, ...] = ()
    fetched_at: datetime | None = None
    tried_at: datetime | None = None


class ClientKeys:
    """The public keys of clients, parsed once and kept. Thread-safe."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self.fetcher = fetcher or Fetcher()
        self._lock = threading.Lock()
        self._registered: dict[str, tuple[Mapping[str, Any], tuple[ClientKey, ...]]] = {}
        self._fetched: dict[str, _Fetched] = {}

    def find_key(self, client: Client, *, kid: str | None, alg: str, use: str, now: datetime) -> PublicKey | None:
        """The client's key for `alg`, or None.

        By its name where there is one; without a name the only one that suits, as OIDC Core section 10.1 asks, and
        for `enc`, where the choice is ours, the first. An unknown name at a `jwks_uri` is looked for again, once a
        minute.
        """
        uri = client.details.jwks_uri
        if client.details.jwks is not None:
            return _choose(self._read_registered(client.client_id, client.details.jwks), kid, alg, use)
        if uri is None:
            return None
        found = _choose(self._read_fetched(uri, now), kid, alg, use)
        if found is None:
            found = _choose(self._read_fetched(uri, now, again=True), kid, alg, use)
        return found

    def read_signed(self, client: Client, token: str, *, algorithms: Collection[str], now: datetime) -> Signed:
        """What the client signed with one of `algorithms`, by a key of its own. Raises `InvalidToken`."""
        allowed = [alg for alg in algorithms if alg in SIGNATURE_ALGORITHMS]
        header, signed, signature = _take_apart(token, allowed)
        key = self.find_key(client, kid=header.get("kid"), alg=header["alg"], use="sig", now=now)
        return _verify(header, signed, signature, key)

    def _read_registered(self, client_id: str, jwks: Mapping[str, Any]) -> tuple[ClientKey, ...]:
        known = self._registered.get(client_id)
        if known is not None and known[0] == jwks:
            return known[1]
        keys = _read_or_none(jwks)
        with self._lock:
            if len(self._registered) >= _PARSED_MAX:
                self._registered.clear()
            self._registered[client_id] = (jwks, keys)
        return keys

    def _read_fetched(self, uri: str, now: datetime, *, again: bool = False) -> tuple[ClientKey, ...]:
        with self._lock:
            if uri not in self._fetched and len(self._fetched) >= _PARSED_MAX:
                self._fetched.clear()
            entry = self._fetched.setdefault(uri, _Fetched(threading.Lock()))
        if not again and entry.fetched_at is not None and now < entry.fetched_at + policy.CLIENT_JWKS_LIFETIME:
            return entry.keys
        if _may_try(entry, now):
            # Who only waits for another's look has a turn too.
            with suppress(FetchProblem), self.fetcher.turn():
                self._look(uri, entry, now)
        if entry.fetched_at is None or now >= entry.fetched_at + policy.CLIENT_JWKS_STALE_MAX:
            return ()
        return entry.keys

    def _look(self, uri: str, entry: _Fetched, now: datetime) -> None:
        # One looks; who has old keys need not wait for it.
        if entry.lock.acquire(blocking=not entry.keys):
            try:
                if _may_try(entry, now):
                    self._fetch(uri, entry, now)
            finally:
                entry.lock.release()

    def _fetch(self, uri: str, entry: _Fetched, now: datetime) -> None:
        try:
            entry.keys = read_key_set(self.fetcher.get_json(uri))
            entry.fetched_at = now
        except (FetchProblem, ValueError):
            pass  # the old keys stay for a while; the next look is a minute away
        finally:
            entry.tried_at = now


def read_signed_by_secret(secret: str, token: str) -> Signed:
    """What was signed with HS256 and this secret (OIDC Core section 9). Raises `InvalidToken`."""
    header, signed, signature = _take_apart(token, ("HS256",))
    return _verify(header, signed, signature, OctKey.import_key(secret.encode()))


def read_unverified(token: str) -> dict[str, Any]:
    """The claims of a JWS of which nothing is verified: to find out whose it says it is. Raises `InvalidToken`."""
    segments = token.split(".")
    if len(token) > policy.TOKEN_LENGTH_MAX or len(segments) != 3:
        raise InvalidToken("not a compact JWS")
    return _read_object(segments[1])


def _may_try(entry: _Fetched, now: datetime) -> bool:
    return entry.tried_at is None or now >= entry.tried_at + policy.CLIENT_JWKS_PAUSE


def _read_or_none(jwks: Mapping[str, Any]) -> tuple[ClientKey, ...]:
    try:
        return read_key_set(jwks)
    except ValueError:
        return ()


def _choose(keys: tuple[ClientKey, ...], kid: str | None, alg: str, use: str) -> PublicKey | None:
    suitable = [each for each in keys if each.suits(alg, use) and (kid is None or each.kid == kid)]
    if not suitable or (len(suitable) > 1 and use == "sig"):
        return None
    return suitable[0].key


def _take_apart(token: str, algorithms: Collection[str]) -> tuple[dict[str, Any], str, bytes]:
    """Header, what was signed, and signature of a compact JWS whose header we take (RFC 8725 section 3)."""
    if len(token) > policy.TOKEN_LENGTH_MAX or not token.isascii():
        raise InvalidToken("not a compact JWS")
    segments = token.split(".")
    if len(segments) != 3 or not all(segments):
        raise InvalidToken("not a compact JWS")
    header = _read_object(segments[0])
    if not _HEADER_KNOWN.issuperset(header):
        raise InvalidToken("a header member that is not taken")
    kid = header.get("kid")
    if header.get("alg") not in algorithms or not (kid is None or isinstance(kid, str)):
        raise InvalidToken("algorithm or key id not accepted")
    return header, f"{segments[0]}.{segments[1]}", _decode(segments[2])


def _verify(header: dict[str, Any], signed: str, signature: bytes, key: PublicKey | OctKey | None) -> Signed:
    if key is None:
        raise InvalidToken("unknown key")
    try:
        # Past joserfc's deserialize_compact, which warns of EdDSA's old name (RFC 9864): clients still use it.
        good = JWSRegistry.algorithms[header["alg"]].verify(signed.encode("ascii"), signature, key)
    except (JoseError, ValueError) as error:
        raise InvalidToken("bad signature") from error
    if not good:
        raise InvalidToken("bad signature")
    return Signed(header, _read_object(signed.partition(".")[2]))


def _read_object(segment: str) -> dict[str, Any]:
    try:
        return parse_object(_decode(segment))
    except ValueError as error:
        raise InvalidToken("not a JSON object") from error


def _decode(segment: str) -> bytes:
    try:
        return b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidToken("not base64url") from error
