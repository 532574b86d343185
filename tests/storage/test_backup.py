"""`idp backup` and `idp restore`, on each database: what comes back, and what must not."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from joserfc import jwt
from joserfc.jwk import ECKey

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import LinkDead
from idp.accounts.usernames import parse_username
from idp.app import create_app
from idp.cli.archive import ArchiveProblem
from idp.cli.main import cli
from idp.db import StoreUnavailable
from idp.installation import find_restored_at
from idp.outbox import Template
from idp.protocol.client_auth import ASSERTION_TYPE
from idp.protocol.clients import Registration
from idp.protocol.details import ClientDetails
from idp.protocol.messages import ProtocolRequest
from idp.protocol.profiles import DEVICE_CODE
from idp.snapshot import SnapshotProblem
from idp.web.current import EXTENSION
from idp.wiring import Services, authentication_of
from tests.command import run_here

USERNAME, PASSWORD, NEW_PASSWORD = "EKU9003173C9", "Sello.Digital.2026", "Otra.Clave.2027"
SECRET = "0123456789abcdef0123456789abcdef-tests"
CLIENT_KEY = ECKey.generate_key("P-256", {"kid": "erp"})


def now() -> datetime:
    return datetime.now(UTC)


def idp(*arguments: str) -> Result:
    """One command of ours, in this process."""
    return CliRunner().invoke(cli, arguments)


def good(*arguments: str) -> str:
    result = idp(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@dataclass
class Running:
    """The provider over the database of the test, as one start of it."""

    app: Flask
    services: Services

    def call(self, path: str, **form: str) -> dict[str, Any]:
        answer = self.app.test_client().post(path, data=form)
        return {"status": answer.status_code, **(answer.json or {})}

    def approve(self, client: dict[str, str]) -> str:
        """A device code that its person has let in and nobody has redeemed."""
        begun = self.call("/oauth/device_authorization", scope="openid offline_access", **client)
        at, account = now(), self.services.directory.find(USERNAME, now())
        assert account is not None
        self.services.protocol.devices.enter(begun["user_code"], browser="b", address=None, now=at)
        with self.services.store.write() as tx:
            own = {"amr": ("pwd",), "acr": "1", "now": at, "address": None, "user_agent": None}
            cookie = self.services.sessions.sign_in(tx, None, account.account_id, **own)
        authentication = authentication_of(self.services.sessions.find(cookie, at))
        self.services.protocol.devices.decide(
            begun["user_code"], allow=True, browser="b", authentication=authentication, now=at
        )
        return str(begun["device_code"])

    def redeem(self, client: dict[str, str], code: str) -> dict[str, Any]:
        return self.call("/oauth/token", grant_type=DEVICE_CODE, device_code=code, **client)

    def refresh(self, client: dict[str, str], token: str) -> dict[str, Any]:
        return self.call("/oauth/token", grant_type="refresh_token", refresh_token=token, **client)

    def is_active(self, client: dict[str, str], token: str) -> bool:
        return bool(self.call("/oauth/introspect", token=token, **client)["active"])

    def link_code(self) -> str:
        """The code of a recovery link that the mail server has taken."""
        self.services.recovery.send_reminder(parse_username(USERNAME), attempt=Attempt(), now=now())
        messages, _ = self.services.outbox.take(now(), 10)
        message = next(each for each in messages if each.template is Template.REMINDER)
        address = self.services.links.address_for(message, now())
        assert address is not None
        with self.services.store.write() as tx:
            self.services.links.handed_over(tx, message.id, now())
        return address.partition("code=")[2]

    def sign_in(self, password: str) -> str:
        return self.services.sign_in.sign_in(USERNAME, password, attempt=Attempt(), now=now()).cookie

    def register(self, token: str) -> int:
        answer = self.app.test_client().post(
            "/oauth/register",
            json={"redirect_uris": ["https://app.example/cb"]},
            headers={"Authorization": f"Bearer {token}"},
        )
        return answer.status_code


@contextmanager
def running() -> Iterator[Running]:
    app = create_app()
    services: Services = app.extensions[EXTENSION]
    try:
        yield Running(app, services)
    finally:
        services.store.engine.dispose()


@pytest.fixture
def place(url: str, keys_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys, its settings in the environment, and an account in the database."""
    for name, value in {
        "IDP_ISSUER": "http://localhost",
        "IDP_DATABASE_URL": url,
        "IDP_KEYS_DIR": str(keys_folder),
        "IDP_SECRET_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    good("init")
    with running() as provider:
        provider.services.lifecycle.create(
            USERNAME, email="c@cliente.example", name="Uno", password=PASSWORD, now=now()
        )
    return tmp_path


@pytest.fixture
def client(place: Path) -> dict[str, str]:
    """The credentials of a client that is a device, and may ask for itself."""
    assert place
    with running() as provider:
        made, secret = provider.services.protocol.clients.add(
            Registration(
                client_name="Televisor",
                redirect_uris=("https://app.example/cb",),
                scopes=("openid", "offline_access"),
                grant_types=("authorization_code", "refresh_token", "client_credentials", DEVICE_CODE),
                token_endpoint_auth_method="client_secret_post",
            ),
            now=now(),
        )
    return {"client_id": made.client_id, "client_secret": str(secret)}


@pytest.mark.spec("F-15")
@pytest.mark.spec("T-8")
def test_what_was_spent_after_the_backup_stays_dead(place: Path, client: dict[str, str]) -> None:
    with running() as provider:
        spent = provider.redeem(client, provider.approve(client))["refresh_token"]
        unspent = provider.redeem(client, provider.approve(client))["refresh_token"]
        code, link = provider.approve(client), provider.link_code()
        revoked = provider.call("/oauth/token", grant_type="client_credentials", **client)["access_token"]
        initial = provider.services.protocol.registrations.issue_token(now=now())
        cookie = provider.sign_in(PASSWORD)
        assert provider.services.recovery.open_link(link, now())
    good("backup", "one.backup")

    with running() as provider:
        # All of it is good now, and is used up.
        successor = provider.refresh(client, spent)["refresh_token"]
        assert provider.redeem(client, code)["status"] == 200
        assert provider.register(initial) == 201
        assert provider.is_active(client, revoked)
        assert provider.call("/oauth/revoke", token=revoked, **client)["status"] == 200
        browser = provider.services.sessions.find(cookie, now())
        assert browser is not None
        provider.services.sign_in.sign_out(browser, now())
        permit = provider.services.recovery.open_link(link, now())
        provider.services.recovery.set_password(permit, NEW_PASSWORD, now=now())
    good("restore", "one.backup", "--replace")

    with running() as provider:
        for token in (spent, successor, unspent):
            assert provider.refresh(client, token)["error"] == "invalid_grant"
        assert provider.redeem(client, code)["status"] == 400
        assert provider.register(initial) == 401
        assert not provider.is_active(client, revoked)
        assert provider.services.sessions.find(cookie, now()) is None
        with pytest.raises(LinkDead):
            provider.services.recovery.open_link(link, now())
        # The account is that of the backup, and everything works anew.
        assert provider.sign_in(PASSWORD)
        fresh = provider.redeem(client, provider.approve(client))
        assert provider.refresh(client, fresh["refresh_token"])["status"] == 200
        assert find_restored_at(provider.services.store) is not None
    assert stat.S_IMODE((place / "one.backup").stat().st_mode) == 0o600


def _assertion(client_id: str, jti: str, made: datetime, *, dated: bool = True) -> str:
    """What the client says at `made` to prove who it is, good for half an hour."""
    claims = {"iss": client_id, "sub": client_id, "aud": "http://localhost", "jti": jti}
    times = {"exp": int(made.timestamp()) + 1800} | ({"iat": int(made.timestamp())} if dated else {})
    return jwt.encode({"alg": "ES256"}, {**claims, **times}, CLIENT_KEY)


def _present(provider: Running, assertion: str, at: datetime) -> int:
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    request = ProtocolRequest("POST", form=urlencode(form).encode())
    try:
        return provider.services.protocol.token(request, at).status
    except StoreUnavailable:
        return 503


@pytest.mark.spec("F-15")
@pytest.mark.spec("P-10")
def test_an_assertion_that_was_used_after_the_backup_is_not_taken_again(place: Path) -> None:
    assert place
    with running() as provider:
        made, _ = provider.services.protocol.clients.add(
            Registration(
                client_name="ERP",
                redirect_uris=("https://app.example/cb",),
                scopes=("openid",),
                grant_types=("client_credentials",),
                token_endpoint_auth_method="private_key_jwt",
                details=ClientDetails(jwks={"keys": [CLIENT_KEY.as_dict(private=False)]}),
            ),
            now=now(),
        )
    good("backup", "one.backup")
    issued = now()
    used = _assertion(made.client_id, "one", issued)
    with running() as provider:
        assert _present(provider, used, now()) == 200
        assert _present(provider, used, now()) == 401
    good("restore", "one.backup", "--replace")

    with running() as provider:
        # Its mark is not in the backup; nobody knows that it was used.
        assert _present(provider, used, now()) == 503
        later = now() + timedelta(minutes=2)
        assert _present(provider, used, later) == 503
        assert _present(provider, _assertion(made.client_id, "two", later), later) == 200
        # One that does not say when it was made may have been made an hour before its end.
        assert _present(provider, _assertion(made.client_id, "three", later, dated=False), later) == 503
        later = now() + policy.CLIENT_ASSERTION_LIFETIME_MAX
        assert _present(provider, _assertion(made.client_id, "four", later, dated=False), later) == 200


@pytest.mark.spec("F-15")
def test_a_second_restore_of_the_same_backup_revives_no_link(place: Path) -> None:
    assert place
    good("backup", "one.backup")
    good("restore", "one.backup", "--replace")
    with running() as provider:
        link = provider.link_code()
        permit = provider.services.recovery.open_link(link, now())
        provider.services.recovery.set_password(permit, NEW_PASSWORD, now=now())
    good("restore", "one.backup", "--replace")
    with running() as provider, pytest.raises(LinkDead):
        provider.services.recovery.open_link(link, now())


def test_it_comes_back_on_an_empty_machine(place: Path, url: str, keys_folder: Path) -> None:
    before = sorted(path.name for path in keys_folder.glob("*.pem"))
    good("backup", "one.backup")
    good("restore", "one.backup", "--replace")  # leaves the old SQLite file aside: an empty place from here on
    if url.startswith("sqlite"):
        (place / "storage.db").unlink()
    shutil.rmtree(keys_folder)
    told = json.loads(good("restore", "one.backup", "--json", *([] if url.startswith("sqlite") else ["--replace"])))
    assert told["keys"] == len(before)
    assert sorted(path.name for path in keys_folder.glob("*.pem")) == before
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys_folder.glob("*.pem")} == {0o600}
    with running() as provider:
        assert provider.sign_in(PASSWORD)
        assert provider.services.missing(now()) == ()
    # Automatic numbers go on after the backup's: this writes an audit row.
    good("mail", "retry")


def test_a_database_that_holds_something_is_not_given_up_unasked(place: Path) -> None:
    assert place
    good("backup", "one.backup")
    result = idp("restore", "one.backup")
    assert result.exit_code == 1
    assert "--replace" in result.output
    with running() as provider:
        assert provider.sign_in(PASSWORD)


def test_nothing_changes_while_a_server_has_the_database_open(place: Path) -> None:
    assert place
    good("backup", "one.backup")
    with running() as provider:
        assert provider.sign_in(PASSWORD)  # an idle connection stays in its pool
        result = idp("restore", "one.backup", "--replace")
        assert isinstance(result.exception, SnapshotProblem)
        cookie = provider.sign_in(PASSWORD)
        assert provider.services.sessions.find(cookie, now()) is not None
    good("restore", "one.backup", "--replace")


def test_a_key_that_was_retired_since_stays_retired(place: Path) -> None:
    assert place
    with running() as provider:
        kid = next(key.kid for key in provider.services.keys.describe(now()) if key.alg == "ES256")
    good("backup", "one.backup")
    good("keys", "rotate", "--now")
    good("keys", "retire", kid)
    good("restore", "one.backup", "--replace")
    assert kid not in good("keys", "list")


def test_another_secret_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place
    good("backup", "one.backup")
    monkeypatch.setenv("IDP_SECRET_KEY", SECRET[::-1])
    assert "IDP_SECRET_KEY" in idp("restore", "one.backup", "--replace").output
    good("restore", "one.backup", "--replace", "--other-secret")


def test_a_backup_is_not_overwritten(place: Path) -> None:
    assert place
    good("backup", "one.backup")
    assert idp("backup", "one.backup").exit_code == 1
    good("backup", "two.backup")


def test_a_place_that_takes_no_file_is_said_in_one_line(place: Path) -> None:
    (place / "folder").touch()
    environment = {name: value for name, value in os.environ.items() if name.startswith("IDP_")}
    done = run_here(["backup", "folder/one.backup"], folder=place, environment=environment)
    assert (done.exit_code, done.output, done.errors.count("\n")) == (1, "", 1)
    assert "folder" in done.errors
    assert run_here(["backup", "one.backup"], folder=place, environment=environment).exit_code == 0


def test_a_database_that_does_not_answer_is_said_in_one_line(place: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name.startswith("IDP_")}
    away = environment | {"IDP_DATABASE_URL": f"postgresql+psycopg://llavero@/llavero?host={place}/nowhere"}
    done = run_here(["backup", "one.backup"], folder=place, environment=away)
    assert (done.exit_code, done.output, done.errors.count("\n")) == (1, "", 1)
    assert "does not answer" in done.errors
    assert run_here(["backup", "one.backup"], folder=place, environment=environment).exit_code == 0


@pytest.mark.spec("S-4")
def test_keys_can_be_left_out(place: Path) -> None:
    good("backup", "with.backup")
    good("backup", "without.backup", "--without-keys")
    assert (place / "with.backup").stat().st_size > (place / "without.backup").stat().st_size
    assert json.loads(good("restore", "without.backup", "--replace", "--json"))["keys"] == 0


def test_a_damaged_file_changes_nothing(place: Path, url: str) -> None:
    if not url.startswith("sqlite"):
        return  # the file is read before any database is
    good("backup", "one.backup")
    whole = (place / "one.backup").read_bytes()
    for damaged in (b"", b"not a tar", whole[:-50], whole[: len(whole) // 2], _flip(whole)):
        (place / "bad.backup").write_bytes(damaged)
        result = idp("restore", "bad.backup", "--replace")
        assert isinstance(result.exception, ArchiveProblem), result.output
    with running() as provider:
        assert provider.sign_in(PASSWORD)
        assert find_restored_at(provider.services.store) is None


def _flip(data: bytes) -> bytes:
    middle = len(data) * 2 // 3
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
