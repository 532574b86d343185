"""A client is removed while its tokens are refreshed: neither waits for the other's rows."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest

from idp.app import create_app
from idp.protocol.clients import Client, Registration
from idp.protocol.subjects import Authentication
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import ProtocolRequest, ProtocolResponse, Services
from tests.tables import make_tables

FAMILIES, TURNS = 8, 4
SCOPES = ("openid", "offline_access")


@pytest.fixture
def services(url: str, keys_folder: Path) -> Iterator[Services]:
    app = create_app(Settings(secret_key="0123456789abcdef0123456789abcdef", database_url=url, keys_dir=keys_folder))
    found: Services = app.extensions[EXTENSION]
    make_tables(found.store.engine)
    yield found
    found.store.engine.dispose()


def add_families(services: Services, client: Client, sub: str, now: datetime) -> list[str]:
    """A refresh token of each of so many grants."""
    tokens, found = services.protocol.services.tokens, []
    subject = services.protocol.services.subjects.find_subject(sub)
    assert subject is not None
    with services.store.write() as tx:
        for _ in range(FAMILIES):
            authentication = Authentication(sub, "sid", now, ("pwd",), "1")
            added = tokens.add_grant(
                tx, client_id=client.client_id, authentication=authentication, scopes=SCOPES, resource=None, now=now
            )
            grant = tokens.find_grant(added, tx)
            assert grant is not None
            token = tokens.add_refresh_token(tx, grant, subject, SCOPES, now=now)
            assert token is not None
            found.append(token)
    return found


@pytest.mark.spec("S-5", "O-5")
def test_a_client_goes_while_its_tokens_are_refreshed(services: Services) -> None:
    now = datetime.now(UTC)
    services.lifecycle.create(
        "EKU9003173C9", email="c@cliente.example", name="Cliente", password="Zq7-banco de x", now=now
    )
    with services.store.read() as connection:
        sub = connection.exec_driver_sql("SELECT id FROM account").scalar_one()
    for turn in range(TURNS):
        registration = Registration(
            f"Pasajera {turn}",
            redirect_uris=("https://cliente.example/regreso",),
            token_endpoint_auth_method="client_secret_post",
            first_party=True,
            grant_types=("authorization_code", "refresh_token"),
            scopes=SCOPES,
        )
        client, secret = services.protocol.clients.add(registration, now=now)
        own = {"grant_type": "refresh_token", "client_id": client.client_id, "client_secret": str(secret)}
        many_came, over = threading.Semaphore(0), threading.Event()

        def refresh(
            token: str,
            own: dict[str, str] = own,
            many_came: threading.Semaphore = many_came,
            over: threading.Event = over,
        ) -> ProtocolResponse:
            while True:
                form = urlencode({**own, "refresh_token": token}).encode()
                answer = services.protocol.token(ProtocolRequest("POST", "", form), datetime.now(UTC))
                if answer.status != 200 or answer.body is None or over.is_set():
                    return answer
                token = answer.body["refresh_token"]
                many_came.release()

        with ThreadPoolExecutor(FAMILIES) as pool:
            begun = [pool.submit(refresh, token) for token in add_families(services, client, sub, now)]
            for _ in range(4 * FAMILIES):
                assert many_came.acquire(timeout=30)
            try:
                services.protocol.clients.remove(client.client_id, now=datetime.now(UTC))
            except BaseException:
                over.set()
                raise
            # Its grants are gone, or the client itself; nobody was told to come again.
            assert {each.result(30).status for each in begun} <= {400, 401}
