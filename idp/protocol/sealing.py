"""Sign what a client is told, and encrypt it where the client registered that (OIDC Core section 10)."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import Key

from idp.keys import KeyRing
from idp.protocol.errors import InvalidRequest

if TYPE_CHECKING:
    from idp.protocol.clients import Client

DEFAULT_ENC = "A128CBC-HS256"
"""OIDC Registration section 2, where an `alg` stands alone."""


class ClientKeySource(Protocol):
    """Where the keys of a client are found: `client_keys.ClientKeys`."""

    def find_key(
        self, client: "Client", *, kid: str | None, alg: str, use: Literal["sig", "enc"], now: datetime
    ) -> Any | None:
        """The parsed public key of the client for `alg`, or None."""


class Sealing:
    """Compact JWS, JWE or a JWS inside a JWE, by what the client registered."""

    def __init__(self, keys: KeyRing, client_keys: ClientKeySource | None = None) -> None:
        self._keys = keys
        self._client_keys = client_keys

    def prepare(self, client: "Client", now: datetime) -> None:
        """Have the client's keys at hand before a transaction opens: they may have to be fetched.

        `InvalidRequest` where a client that registered encryption has no key for it, before anything is spent.
        """
        details = client.details
        for alg in (details.id_token_encrypted_response_alg, details.userinfo_encrypted_response_alg):
            if alg is not None:
                self._find_key(client, alg, now)

    def seal_id_token(self, claims: dict[str, Any], client: "Client", now: datetime, *, typ: str = "JWT") -> str:
        """An ID token, or by its `typ` another that is signed and encrypted as the client's ID tokens are."""
        details = client.details
        signed = self._keys.sign(claims, typ=typ, alg=client.id_token_signed_response_alg, now=now)
        alg = details.id_token_encrypted_response_alg
        if alg is None:
            return signed
        return self._encrypt(signed, client, alg, details.id_token_encrypted_response_enc, now, nested=True)

    def seal_userinfo(self, claims: dict[str, Any], client: "Client", issuer: str, now: datetime) -> str | None:
        """The answer as a JWT; None where the client registered neither, and gets JSON (OIDC Core section 5.3.2)."""
        details = client.details
        alg = details.userinfo_encrypted_response_alg
        text = None
        if details.userinfo_signed_response_alg is not None:
            # "If signed, the UserInfo Response MUST contain the Claims iss and aud."
            named = {**claims, "iss": issuer, "aud": client.client_id}
            text = self._keys.sign(named, typ="JWT", alg=details.userinfo_signed_response_alg, now=now)
        if alg is None:
            return text
        plain = json.dumps(claims, separators=(",", ":")) if text is None else text
        enc = details.userinfo_encrypted_response_enc
        return self._encrypt(plain, client, alg, enc, now, nested=text is not None)

    def _encrypt(self, plain: str, client: "Client", alg: str, enc: str | None, now: datetime, *, nested: bool) -> str:
        key = self._find_key(client, alg, now)
        header: dict[str, Any] = {"alg": alg, "enc": enc or DEFAULT_ENC}
        if nested:
            header["cty"] = "JWT"  # RFC 7519 section 5.2
        if key.kid:
            header["kid"] = key.kid
        try:
            return jwe.encrypt_compact(header, plain, key, algorithms=[alg, header["enc"]])
        except (JoseError, ValueError) as error:
            raise InvalidRequest("The client's key cannot be used for the encryption it registered.") from error

    def _find_key(self, client: "Client", alg: str, now: datetime) -> Key:
        source = self._client_keys
        key = None if source is None else source.find_key(client, kid=None, alg=alg, use="enc", now=now)
        if key is None:
            raise InvalidRequest("The client has no key for the encryption it registered.")
        found: Key = key
        return found
