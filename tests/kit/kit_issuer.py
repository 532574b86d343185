"""An issuer in memory: it signs, publishes its keys, and counts who asks for them."""

import json
from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

ISSUER = "https://idp.example"
AUDIENCE = "https://mailbox.example"
EC_KEY = ECKey.generate_key("P-256", {"kid": "ec-1", "alg": "ES256", "use": "sig"})
RSA_KEY = RSAKey.generate_key(2048, {"kid": "rsa-1", "alg": "RS256", "use": "sig"})


def encode(value: object) -> str:
    """A segment of a JWS: text as it is, anything else as JSON."""
    raw = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """What a resource server sees of an identity provider."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.keys: list[dict[str, Any]] = [EC_KEY.as_dict(private=False), RSA_KEY.as_dict(private=False)]
        self.cache_control = "max-age=300"
        self.fetched: list[str] = []
        self.is_down = False

    def fetch(self, url: str) -> tuple[bytes, str]:
        """The documents, by the address that a `JwksCache` asks for."""
        self.fetched.append(url)
        if self.is_down:
            raise ConnectionRefusedError
        documents: dict[str, object] = {
            f"{ISSUER}/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/oauth/jwks"},
            f"{ISSUER}/oauth/jwks": {"keys": self.keys},
        }
        return json.dumps(documents[url]).encode(), self.cache_control

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good access token; a value of None takes the claim away."""
        issued = int(self.now.timestamp())
        claims = {
            "iss": ISSUER,
            "sub": "8c4f0f5e-6f4d-4a39-9b0c-6d0f0c0a1b2c",
            "aud": AUDIENCE,
            "client_id": "mailbox",
            "iat": issued,
            "exp": issued + 300,
            "jti": "one",
            "scope": "openid profile",
        }
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def mailbox(self, **changed: Any) -> dict[str, Any]:
        """The `mailbox` claim of the contract, for the morning of the tests."""
        claim = {
            "rfc": "EKU9003173C9",
            "actions": ["read", "download"],
            "role": ["receiver"],
            "retention_days": 90,
            "time_zone": "America/Mexico_City",
            "stamped_from": "2026-08-26",
        }
        return {name: value for name, value in (claim | changed).items() if value is not None}

    def sign(self, claims: dict[str, Any] | str, *, key: Any = EC_KEY, **header: Any) -> str:
        """A token over `claims`, or over that text; `header` changes the header, None takes a member away."""
        members = {"alg": key.alg, "kid": key.kid, "typ": "at+jwt"} | header
        members = {name: value for name, value in members.items() if value is not None}
        payload = claims if isinstance(claims, str) else json.dumps(claims)
        # Joserfc refuses to write what we want to see refused, so its algorithm is used and not its serialisation.
        algorithm = jws.default_registry.algorithms[key.alg]
        signed = f"{encode(members)}.{encode(payload)}"
        signature = algorithm.sign(signed.encode(), key)
        return f"{signed}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    def token(self, **changed: Any) -> str:
        """A good access token but for the claims in `changed`."""
        return self.sign(self.claims(**changed))

    def mailbox_token(self, **changed: Any) -> str:
        """The same with both mailbox scopes and their claim."""
        return self.token(**{"scope": "mailbox:read mailbox:download", "mailbox": self.mailbox()} | changed)
