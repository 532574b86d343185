"""A client is removed while its tokens are refreshed: neither waits for the other's rows."""

import threading
import time
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
from idp.wiring import ProtocolRequest, Services
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
    refreshed = 0
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
        go = threading.Barrier(FAMILIES + 1)

        def refresh(
            token: str, client: Client = client, secret: str | None = secret, go: threading.Barrier = go
        ) -> tuple[int, int]:
            go.wait()
            times = 0
            while True:
                form = {"grant_type": "refresh_token", "refresh_token": token}
                form |= {"client_id": client.client_id, "client_secret": str(secret)}
                answer = services.protocol.token(
                    ProtocolRequest("POST", "", urlencode(form).encode()), datetime.now(UTC)
                )
                if answer.status != 200:
                    return answer.status, times
                assert answer.body is not None
                token, times = answer.body["refresh_token"], times + 1

        with ThreadPoolExecutor(FAMILIES) as pool:
            begun = [pool.submit(refresh, token) for token in add_families(services, client, sub, now)]
            go.wait()
            time.sleep(0.1)
            services.protocol.clients.remove(client.client_id, now=datetime.now(UTC))
            for each in begun:
                status, times = each.result(30)
                # Its grants are gone, or the client itself; nobody was told to come again.
                assert status in {400, 401}
                refreshed += times
    assert refreshed > TURNS * FAMILIES, "it was removed before anybody came"
