"""The protocol alone: its doors over SQLite, with people who exist only here."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from sqlalchemy import create_engine

from idp.db import Store, engine_options
from idp.ephemeral import Ephemeral
from idp.keys import KeyRing
from idp.protocol.clients import Client, Clients, Registration
from idp.protocol.grants import GrantServices
from idp.protocol.messages import ProtocolRequest, ProtocolResponse
from idp.protocol.responses import FormPost
from idp.protocol.server import ProtocolServer
from idp.protocol.subjects import Authentication, Subject
from idp.protocol.tokens import Tokens
from tests.tables import make_tables

ISSUER = "https://id.example"
REDIRECT_URI = "https://app.example/cb"
VERIFIER = "v" * 43
CHALLENGE = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"


class People:
    """A `SubjectSource` whose people a test makes and unmakes."""

    deployment_retention_days = 90

    def __init__(self) -> None:
        self.known: dict[str, Subject] = {}
        self.signed_out: set[str] = set()

    def find_subject(self, sub: str) -> Subject | None:
        return self.known.get(sub)

    def is_signed_in(self, authentication: Authentication, _tx: Any) -> bool:
        return authentication.sid not in self.signed_out

    def find_organization_retention(self, rfc: str) -> int:
        return 60 if rfc == "URE180429TM6" else self.deployment_retention_days

    def mailbox_claim(
        self, rfc: str, scopes: Collection[str], retention_days: int, now: datetime
    ) -> tuple[dict[str, Any], datetime]:
        actions = [scope.removeprefix("mailbox:") for scope in scopes if scope.startswith("mailbox:")]
        return {"rfc": rfc, "actions": actions, "retention_days": retention_days}, now + timedelta(hours=12)


@dataclass
class House:
    """The provider and one person who is signed in."""

    server: ProtocolServer
    people: People
    keys: KeyRing
    now: datetime
    authentication: Authentication
    browser: str = "browser-1"
    secrets: dict[str, str | None] = field(default_factory=dict)

    def client(self, name: str = "App", **changes: Any) -> Client:
        values = {
            "redirect_uris": (REDIRECT_URI,),
            "scopes": ("openid", "profile", "email", "rfc", "offline_access", "mailbox:read"),
            "grant_types": ("authorization_code", "refresh_token"),
            "first_party": True,
            "token_endpoint_auth_method": "client_secret_post",
        } | changes
        client, secret = self.server.clients.add(Registration(client_name=name, **values), now=self.now)
        self.secrets[client.client_id] = secret
        return client

    def query(self, client: Client, **changes: str | None) -> str:
        values: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": "openid",
            "state": "st&te=1 ñ",
            "nonce": "n-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return urlencode({name: value for name, value in values.items() if value is not None})

    def authorize(self, query: str, *, signed_in: bool = True, now: datetime | None = None) -> Any:
        return self.server.authorizations.begin(
            query,
            authentication=self.authentication if signed_in else None,
            browser=lambda: self.browser,
            now=now or self.now,
        )

    def authorize_posted(self, handle: str) -> Any:
        return self.server.authorizations.begin_posted(
            handle, authentication=self.authentication, browser=lambda: self.browser, now=self.now
        )

    def code(self, client: Client, *, now: datetime | None = None, **changes: str | None) -> str:
        decision = self.authorize(self.query(client, **changes), now=now)
        return str(answer(decision)["code"])

    def post(
        self, endpoint: str, client: Client | None, *, now: datetime | None = None, **parameters: str | None
    ) -> ProtocolResponse:
        if client is not None:
            parameters = {"client_id": client.client_id, "client_secret": self.secrets[client.client_id], **parameters}
        form = urlencode({name: value for name, value in parameters.items() if value is not None})
        door: Callable[[ProtocolRequest, datetime], ProtocolResponse] = getattr(self.server, endpoint)
        return door(ProtocolRequest("POST", form=form.encode()), now or self.now)

    def redeem(self, client: Client, code: str, **changes: Any) -> ProtocolResponse:
        values = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
            **changes,
        }
        return self.post("token", client, **values)

    def tokens(self, client: Client, scope: str = "openid offline_access") -> dict[str, Any]:
        response = self.redeem(client, self.code(client, scope=scope))
        assert response.status == 200, response.body
        assert response.body is not None
        return response.body

    def userinfo(self, token: str, now: datetime | None = None) -> ProtocolResponse:
        return self.server.userinfo(ProtocolRequest(authorization=f"Bearer {token}"), now or self.now)

    def is_active(self, client: Client, token: str, now: datetime | None = None) -> bool:
        body = self.post("introspect", client, token=token, now=now).body
        assert body is not None
        return bool(body["active"])


def answer(decision: Any) -> dict[str, str]:
    """The parameters that went back to the client, by whichever way."""
    if isinstance(decision, FormPost):
        return dict(decision.parameters)
    assert isinstance(decision, ProtocolResponse), decision
    assert decision.location is not None
    parts = urlsplit(decision.location)
    pairs = parse_qsl(parts.fragment or parts.query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.fixture
def house(tmp_path: Path, keys_folder: Path, now: datetime) -> Iterator[House]:
    url = f"sqlite:///{tmp_path}/idp.db"
    store = Store(create_engine(url, **engine_options(url)))
    make_tables(store.engine)
    keys = KeyRing(keys_folder, strict=True)
    people = People()
    ephemeral = Ephemeral(store)
    tokens = Tokens(store, ephemeral, keys, people, issuer=ISSUER, pairwise_key=b"p" * 32, refresh_key=b"r" * 32)
    clients = Clients(store, sealing_key=b"s" * 32)
    server = ProtocolServer.over(GrantServices(store, ephemeral, clients, tokens, people), keys)
    subject = Subject(
        sub="5f0c7f6e-0d0c-4f5e-9b9e-6f1f5a1f2b3c",
        claims={"name": "Cliente de prueba", "email": "cliente@example.org", "rfc": "EKU9003173C9"},
        credentials_expire_at=now + timedelta(days=20),
        mailbox_rfc="EKU9003173C9",
        retention_days=90,
    )
    people.known[subject.sub] = subject
    authentication = Authentication(subject.sub, "sid-1", now - timedelta(minutes=3), ("pwd",), "1")
    yield House(server, people, keys, now, authentication)
    store.engine.dispose()


__all__ = ["CHALLENGE", "ISSUER", "REDIRECT_URI", "VERIFIER", "House", "answer", "replace"]
