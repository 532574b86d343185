"""A provider for the example mailbox's tests: it answers without a socket, and signs what it is told."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from zoneinfo import ZoneInfo

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from flask import Flask
from flask.testing import FlaskClient
from idp_kit import JwksCache, MailboxClaim, read_claim
from invoice_mailbox.app import create_app
from invoice_mailbox.config import Config
from joserfc import jwt
from joserfc.jwk import ECKey
from requests import ConnectionError, PreparedRequest, Response
from requests.adapters import BaseAdapter

ISSUER = "http://localhost:5000"
URL = "http://127.0.0.1:5001"
MEXICO = ZoneInfo("America/Mexico_City")
EKU = "EKU9003173C9"

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cfdi"
"""Real samples, beside the repository where somebody put them."""


def mexico(text: str) -> datetime:
    """An instant, told in central Mexico time."""
    return datetime.fromisoformat(text).replace(tzinfo=MEXICO)


def claim_json(rfc: str, now: datetime, days: int = 90) -> dict[str, Any]:
    """The `mailbox` claim that the provider would give at `now`."""
    return {
        "rfc": rfc,
        "actions": ["read", "download"],
        "role": ["receiver"],
        "retention_days": days,
        "time_zone": "America/Mexico_City",
        "stamped_from": (now.astimezone(MEXICO).date() - timedelta(days=days)).isoformat(),
    }


def claim(rfc: str, now: datetime, days: int = 90) -> MailboxClaim:
    """The same, read by the kit."""
    return read_claim(claim_json(rfc, now, days))


class Clock:
    """The mailbox's clock, which only the test moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Provider(BaseAdapter):
    """Answers discovery, keys, token, userinfo and revocation; counts and remembers what it was asked."""

    def __init__(self, clock: Clock, rfc: str = EKU) -> None:
        super().__init__()
        self.clock = clock
        self.rfc = rfc
        self.scope = "openid profile rfc offline_access mailbox:read mailbox:download"
        self.key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
        self.calls: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.refresh_tokens: set[str] = set()
        self.down = False
        self.id_token_changes: dict[str, Any] = {}
        self.access_token_changes: dict[str, Any] = {}
        self._number = 0

    def jwks(self, address: str) -> tuple[bytes, str]:
        """What the kit's cache fetches."""
        if "openid-configuration" in address:
            return json.dumps(self.metadata()).encode(), ""
        return json.dumps({"keys": [self.key.as_dict(private=False)]}).encode(), ""

    def metadata(self) -> dict[str, Any]:
        """The discovery document."""
        names = {"authorization": "authorize", "token": "token", "userinfo": "userinfo", "revocation": "revoke"}
        return {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/oauth/jwks",
            "id_token_signing_alg_values_supported": ["ES256", "RS256", "none", "HS256"],
            "authorization_response_iss_parameter_supported": True,
            "end_session_endpoint": f"{ISSUER}/oauth/logout",
            **{f"{name}_endpoint": f"{ISSUER}/oauth/{path}" for name, path in names.items()},
        }

    def sign(self, claims: dict[str, Any], typ: str) -> str:
        """A token with these claims; a claim of None is left out."""
        header = {"alg": "ES256", "kid": self.key.kid, "typ": typ}
        return jwt.encode(header, {name: value for name, value in claims.items() if value is not None}, self.key)

    def access_token(self, **changes: Any) -> str:
        """An access token of five minutes for the mailbox."""
        now = self.clock.now
        scopes = changes.get("scope", self.scope)
        mailbox = claim_json(self.rfc, now) if "mailbox:" in scopes else None
        self._number += 1
        claims = {
            "iss": ISSUER,
            "aud": URL,
            "sub": "person-1",
            "client_id": "mailbox",
            "jti": str(self._number),
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + 300,
            "scope": scopes,
            "mailbox": mailbox,
        }
        return self.sign(claims | self.access_token_changes | changes, "at+jwt")

    def authorize(self, address: str, **changes: str | None) -> str:
        """What the person's consent answers to an authorization request: the path and query of the callback."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        answer = {"code": code, "state": query["state"], "iss": ISSUER} | changes
        return "/callback?" + urlencode({name: value for name, value in answer.items() if value is not None})

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        """Answer one request of the mailbox."""
        if self.down:
            raise ConnectionRefusedForTest
        path = urlsplit(str(request.url)).path
        self.calls.append(path)
        form = {name: values[0] for name, values in parse_qs(str(request.body or "")).items()}
        routes: dict[str, Callable[[], tuple[int, dict[str, Any]]]] = {
            "/.well-known/openid-configuration": lambda: (200, self.metadata()),
            "/oauth/jwks": lambda: (200, json.loads(self.jwks("")[0])),
            "/oauth/userinfo": lambda: (200, {"sub": "person-1", "name": "Escuela de Prueba"}),
            "/oauth/revoke": lambda: (self.refresh_tokens.discard(form["token"]), (200, {}))[1],
            "/oauth/token": lambda: self._token(form, request),
        }
        status, body = routes[path]()
        response = Response()
        response.status_code = status
        response.headers["Content-Type"] = "application/json"
        response.raw = BytesIO(json.dumps(body).encode())
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        """Nothing is held open."""

    def _token(self, form: dict[str, str], request: PreparedRequest) -> tuple[int, dict[str, Any]]:
        expected = "Basic " + base64.b64encode(b"mailbox:secret").decode()
        if request.headers.get("Authorization") != expected:
            return 401, {"error": "invalid_client"}
        answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": 300, "scope": self.scope}
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            if asked is None or create_s256_code_challenge(form["code_verifier"]) != asked["code_challenge"]:
                return 400, {"error": "invalid_grant"}
            issued = int(time.time())
            access_token = self.access_token()
            half = hashlib.sha256(access_token.encode()).digest()[:16]
            answer["id_token"] = self.sign(
                {
                    "iss": ISSUER,
                    "aud": "mailbox",
                    "sub": "person-1",
                    "iat": issued,
                    "exp": issued + 300,
                    "auth_time": issued,
                    "nonce": asked["nonce"],
                    "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
                }
                | self.id_token_changes,
                "JWT",
            )
            answer["access_token"] = access_token
        else:
            if form["refresh_token"] not in self.refresh_tokens:
                # A spent one ends the family.
                self.refresh_tokens.clear()
                return 400, {"error": "invalid_grant"}
            self.refresh_tokens.discard(form["refresh_token"])
            answer["access_token"] = self.access_token()
        self._number += 1
        answer["refresh_token"] = f"refresh-{self._number}"
        self.refresh_tokens.add(answer["refresh_token"])
        return 200, answer


class ConnectionRefusedForTest(ConnectionError):
    """What `requests` raises when nobody listens."""


def make_mailbox(provider: Provider, folder: Path, cfdi: Path, **settings: Any) -> Flask:
    """The mailbox over `cfdi`, whose only way to the provider is `provider`."""
    config = Config(
        issuer=ISSUER,
        client_id="mailbox",
        client_secret="secret",
        cfdi=cfdi,
        instance=folder / "instance",
        url=settings.pop("url", URL),
        audience=URL,
    )
    return create_app(
        config,
        keys=JwksCache(ISSUER, fetch=provider.jwks),
        adapter=provider,
        clock=provider.clock,
        scan_interval=settings.pop("scan_interval", 0.0),
    )


def sign_in(client: FlaskClient, provider: Provider, where: str = "/login") -> Any:
    """Walk through sign-in, as a browser does, and return what the callback answers."""
    return client.get(provider.authorize(client.get(where).headers["Location"]))


def write_cfdi(
    folder: Path,
    name: str,
    *,
    stamped: str,
    receiver: str = EKU,
    issuer: str = "IIA040805DZ4",
    total: str = "1160.00",
    issuer_name: str = "ILUMINACION INDUSTRIAL",
    uuid: str = "11111111-2222-4333-8444-555555555555",
    extra: str = "",
) -> Path:
    """A small CFDI 4.0, stamped once; `extra` goes into the Complemento."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?>
<cfdi:Comprobante xmlns:cfdi="http://www.sat.gob.mx/cfd/4" xmlns:tfd="http://www.sat.gob.mx/TimbreFiscalDigital"
 Version="4.0" Fecha="{stamped}" Moneda="MXN" Total="{total}" TipoDeComprobante="I">
<cfdi:Emisor Rfc="{issuer}" Nombre="{issuer_name}"/><cfdi:Receptor Rfc="{receiver}" Nombre="RECEPTOR DE PRUEBA"/>
<cfdi:Complemento><tfd:TimbreFiscalDigital Version="1.1" UUID="{uuid}" FechaTimbrado="{stamped}"/>{extra}
</cfdi:Complemento>
</cfdi:Comprobante>""",
        encoding="utf-8",
    )
    return path


def days_before(day: date, number: int) -> str:
    """Noon of the day that many days before `day`, as SAT writes it."""
    return f"{day - timedelta(days=number)}T12:00:00"
