"""The keys of clients, as registered or fetched from their `jwks_uri`."""

from datetime import datetime
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from idp.protocol.clients import Client

_KINDS: dict[str, type[ECKey] | type[RSAKey] | type[OKPKey]] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}
_KTY = {"ES256": "EC", "RS256": "RSA", "PS256": "RSA", "EdDSA": "OKP"}


class ClientKeys:
    """Registered by value."""

    def find_key(self, client: Client, *, kid: str | None, alg: str, use: str, now: datetime) -> Any | None:  # noqa: ARG002
        for key in (client.details.jwks or {}).get("keys", ()):
            if key["kty"] == _KTY.get(alg) and (kid is None or key.get("kid") == kid) and key.get("use", use) == use:
                return _KINDS[key["kty"]].import_key(key)
        return None
