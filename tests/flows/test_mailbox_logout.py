"""The example mailbox obeys back-channel logout: its own sessions end, those that were meant and no others."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from mailbox_rig import ISSUER, Clock, Provider, make_mailbox, mexico, sign_in

NOW = mexico("2026-11-24T12:00:00")
EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
def provider() -> Provider:
    return Provider(Clock(NOW))


@pytest.fixture
def app(provider: Provider, tmp_path: Path) -> Flask:
    (tmp_path / "cfdi").mkdir()
    return make_mailbox(provider, tmp_path, tmp_path / "cfdi")


def browser(app: Flask, provider: Provider, sid: str, sub: str = "person-1") -> FlaskClient:
    """A browser signed in by this session of the provider."""
    provider.id_token_changes = {"sid": sid, "sub": sub}
    client = app.test_client()
    assert sign_in(client, provider).status_code == 303
    assert is_signed_in(client)
    return client


def is_signed_in(client: FlaskClient) -> bool:
    return b'action="/logout"' in client.get("/").data


def logout_token(provider: Provider, typ: str = "logout+jwt", **changed: Any) -> str:
    now = int(provider.clock.now.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": "mailbox",
        "sub": "person-1",
        "sid": "sid-1",
        "iat": now,
        "exp": now + 120,
        "jti": "notice-1",
        "events": {EVENT: {}},
    }
    return provider.sign(claims | changed, typ)


def tell(app: Flask, token: str) -> int:
    """What the provider's worker does; without a cookie and without a CSRF token."""
    answer = app.test_client().post("/backchannel-logout", data={"logout_token": token})
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code


def test_the_session_that_ended_ends_here_and_no_other(app: Flask, provider: Provider) -> None:
    ended, other = browser(app, provider, "sid-1"), browser(app, provider, "sid-2")
    assert tell(app, logout_token(provider)) == 200
    assert not is_signed_in(ended)
    assert is_signed_in(other)


def test_without_a_sid_every_session_of_the_person_ends(app: Flask, provider: Provider) -> None:
    one, two, stranger = (
        browser(app, provider, sid, sub) for sid, sub in (("a", "person-1"), ("b", "person-1"), ("c", "person-2"))
    )
    assert tell(app, logout_token(provider, sid=None)) == 200
    assert not is_signed_in(one)
    assert not is_signed_in(two)
    assert is_signed_in(stranger)


@pytest.mark.spec("T-1", "T-2", "D-34")
def test_nothing_but_a_logout_token_for_this_client_ends_anything(app: Flask, provider: Provider) -> None:
    client = browser(app, provider, "sid-1")
    good = logout_token(provider)
    header, payload, signature = good.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoibG9nb3V0K2p3dCJ9"
    refused = [
        "",
        "x",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{header}.{payload}.{signature[::-1]}",
        logout_token(provider, typ="JWT"),
        logout_token(provider, typ="at+jwt"),
        logout_token(provider, nonce="n-1"),
        logout_token(provider, events=None),
        logout_token(provider, aud="other"),
        logout_token(provider, iss="https://evil.example"),
        logout_token(provider, exp=int(NOW.timestamp()) - 60),
        provider.access_token(sid="sid-1"),
    ]
    for token in refused:
        assert tell(app, token) == 400, token
    doubled = app.test_client().post("/backchannel-logout", data={"logout_token": [good, good]})
    assert doubled.status_code == 400
    assert app.test_client().get("/backchannel-logout").status_code == 405
    assert is_signed_in(client)
    assert tell(app, logout_token(provider, sub="person-2", jti="notice-2")) == 200
    assert is_signed_in(client)
    assert tell(app, good) == 200
    assert not is_signed_in(client)


def test_a_token_is_obeyed_once(app: Flask, provider: Provider) -> None:
    token = logout_token(provider)
    browser(app, provider, "sid-1")
    assert tell(app, token) == 200
    again = browser(app, provider, "sid-1")
    for later in (0, 60, 100):
        provider.clock.now = NOW + timedelta(seconds=later)
        assert tell(app, token) == 400
    assert is_signed_in(again)


def test_an_id_token_without_a_sid_can_be_ended_by_its_person(app: Flask, provider: Provider) -> None:
    client = app.test_client()
    sign_in(client, provider)
    assert is_signed_in(client)
    assert tell(app, logout_token(provider, sid=None)) == 200
    assert not is_signed_in(client)
