"""What operators do is written down: who, what, and to whom. They start a reset, and choose nobody's password."""

import json
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, run_here

PERSON, ADD = "EKU9003173C9", ("--email", "buzon@cliente.example", "--password-stdin", "--active")
PASSWORD = "Nieve.Tibia7\n"


class House:
    """An installation, its command line in this process, and its audit trail."""

    def __init__(self, run: Callable[..., Done], database: Path) -> None:
        self.idp, self._database = run, database

    def rows(self) -> list[tuple[Any, ...]]:
        """Event, account, client, address and operator of each row, oldest first."""
        with closing(sqlite3.connect(self._database)) as connection:
            found = connection.execute(
                "SELECT event, account_id, client_id, address, detail FROM audit_event ORDER BY id"
            )
            return [(*row[:4], json.loads(row[4] or "{}").get("operator")) for row in found]

    def rows_of(self, *arguments: str, stdin: str = "") -> list[tuple[Any, ...]]:
        """What this command wrote; it must end well."""
        before = len(self.rows())
        done = self.idp(*arguments, stdin=stdin)
        assert done.exit_code == 0, done.errors
        return self.rows()[before:]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    # Nobody signed in to this machine, as far as the kernel knows, wherever these tests run.
    monkeypatch.setattr("idp.cli.main.LOGIN", tmp_path / "loginuid")
    environment = {
        "IDP_ISSUER": "https://id.example",
        "IDP_DATABASE_URL": f"sqlite:///{tmp_path}/idp.db",
        "IDP_KEYS_DIR": str(tmp_path / "keys"),
        "IDP_SECRET_KEY": secrets.token_urlsafe(32),
        "SUDO_USER": "operadora",
    }

    def run(*arguments: str, stdin: str = "") -> Done:
        return run_here(arguments, folder=tmp_path, environment=environment, stdin=stdin)

    assert run("init").exit_code == 0
    return House(run, tmp_path / "idp.db")


@pytest.mark.spec("O-9", "A 6.4.6")
def test_each_command_says_who_did_what_to_whom(house: House, tmp_path: Path) -> None:
    def wrote(*arguments: str, stdin: str = "") -> tuple[Any, ...]:
        (row,) = house.rows_of(*arguments, stdin=stdin)
        assert row[3:] == ("command line", "operadora")
        return row[:3]

    # Keys made by `init`, which makes none when it runs again.
    assert [(row[0], row[4]) for row in house.rows()] == [("operator:key:rotate", "operadora")]
    assert house.rows_of("init") == []
    event, person, _ = wrote("account", "add", PERSON, *ADD, stdin=PASSWORD)
    assert (event, person is not None) == ("account:record:create", True)
    assert wrote("account", "reset", PERSON) == ("account:reminder:request", person, None)
    assert wrote("account", "disable", PERSON) == ("account:record:disable", person, None)
    assert wrote("account", "enable", PERSON) == ("account:record:enable", person, None)
    event, _, client = wrote("client", "add", "Portal", "--redirect-uri", "https://cliente.example/regreso")
    assert (event, client is not None) == ("client:record:create", True)
    assert wrote("client", "update", client, "--scope", "openid") == ("client:record:update", None, client)
    assert wrote("client", "rotate-secret", client) == ("client:secret:rotate", None, client)
    assert wrote("client", "remove", client) == ("client:record:remove", None, client)
    assert wrote("client", "registration-token")[0] == "operator:registration-token:create"
    assert wrote("keys", "rotate")[0] == "operator:key:rotate"
    assert wrote("backup", str(tmp_path / "copia"))[0] == "operator:backup:create"
    # Who only looks changes nothing.
    for looking in (("account", "list"), ("account", "show", PERSON), ("client", "list"), ("keys", "list")):
        assert house.rows_of(*looking) == []


@pytest.mark.spec("O-9")
def test_invited_and_locked_people_too(house: House) -> None:
    created, invited = house.rows_of("account", "add", PERSON, "--email", "buzon@cliente.example")
    assert (created[0], invited[0]) == ("account:record:create", "account:invitation:send")
    (again,) = house.rows_of("account", "invite", PERSON)
    assert again == ("account:invitation:send", created[1], None, "command line", "operadora")
    (unlocked,) = house.rows_of("account", "unlock", PERSON)
    assert unlocked == ("account:lock:lift", created[1], None, "command line", "operadora")


@pytest.mark.spec("O-9")
def test_who_signed_in_to_the_machine_is_named_before_whom_they_became(house: House, tmp_path: Path) -> None:
    (tmp_path / "loginuid").write_text("4294967294")
    assert house.rows_of("account", "add", PERSON, *ADD, stdin=PASSWORD)[0][4] == "4294967294"
    # What the kernel says where nobody did.
    (tmp_path / "loginuid").write_text("4294967295")
    assert house.rows_of("account", "disable", PERSON)[0][4] == "operadora"


@pytest.mark.spec("O-9", "R-5")
def test_an_operator_starts_a_reset_and_chooses_no_password(house: House) -> None:
    assert house.idp("account", "add", PERSON, *ADD, stdin=PASSWORD).exit_code == 0

    def queued() -> int:
        return int(json.loads(house.idp("mail", "status", "--json").output)["queued"])

    assert queued() == 0
    done = house.idp("account", "reset", PERSON)
    assert done.exit_code == 0
    assert queued() == 1
    # The link is the mail's alone.
    assert "code=" not in done.output + done.errors
    # Of nobody, and of whom it would not be sent to, it says so instead of sending nothing.
    assert house.idp("account", "reset", "XIA190128J61").exit_code == 1
    assert house.idp("account", "disable", PERSON).exit_code == 0
    assert house.idp("account", "reset", PERSON).exit_code == 1
    assert queued() == 1
    # Nor does a second `add` give the account another password.
    assert house.idp("account", "add", PERSON, *ADD, stdin="Otra.Nieve8\n").exit_code == 1
    for option in ("--password", "--password-stdin"):
        assert house.idp("account", "reset", PERSON, option).exit_code == 2
