"""`idp account add` and `idp account invite`, as an operator types them."""

import io
import json
import secrets
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import NamedTuple

import pytest

from idp.cli.main import main

NAME = "EKU9003173C9"
SECRETS = "Nieve.Tibia7\n"


class Done(NamedTuple):
    """How a command ended."""

    exit_code: int
    output: str
    errors: str


Idp = Callable[..., Done]


@pytest.fixture
def idp(tmp_path: Path, keys_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Idp:
    """The command line in this process, over a database and keys of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDP_ISSUER", "https://id.example")
    monkeypatch.setenv("IDP_DATABASE_URL", f"sqlite:///{tmp_path}/idp.db")
    monkeypatch.setenv("IDP_KEYS_DIR", str(keys_folder))
    monkeypatch.setenv("IDP_SECRET_KEY", secrets.token_urlsafe(32))

    def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["idp", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = 0
        try:
            copy_context().run(main)
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    assert run("init").exit_code == 0
    return run


@pytest.mark.spec("O-1")
def test_the_database_is_its_owners_alone(idp: Idp, tmp_path: Path) -> None:
    def modes() -> set[int]:
        return {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("idp.db*")}

    with closing(sqlite3.connect(tmp_path / "idp.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE extra (number INTEGER)")  # the files beside it are there now
        assert len(list(tmp_path.glob("idp.db*"))) == 3
        assert modes() == {0o600}
        for each in tmp_path.glob("idp.db*"):
            each.chmod(0o644)
        assert idp("init").exit_code == 0
        assert modes() == {0o600}


@pytest.mark.spec("W-8")
@pytest.mark.parametrize("odd", ["\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\ufeff", "\u00ad", "\x1b", "\x85"])
def test_a_name_holds_nothing_that_is_not_seen(idp: Idp, odd: str, tmp_path: Path) -> None:
    add = ("account", "add", NAME, "--email", "buzon@cliente.example", "--name")
    done = idp(*add, f"Ana{odd}Ruiz")
    assert (done.exit_code, done.output) == (1, "")
    assert "can be seen" in done.errors
    assert odd not in done.errors
    claims = tmp_path / "claims.json"
    for wanted in ({"nickname": f"A{odd}"}, {"address": {"country": f"M{odd}X"}}):
        claims.write_text(json.dumps(wanted), "utf-8")
        assert idp(*add, "Ana", "--claims", str(claims)).exit_code == 1
    assert idp("client", "add", f"Buz{odd}", "--redirect-uri", "https://a.example/cb").exit_code != 0
    claims.write_text(json.dumps({"nickname": "A\u200dB", "address": {"formatted": "Calle 1\nCentro"}}), "utf-8")
    assert idp(*add, "Ana\u200dRuiz Ñandú", "--claims", str(claims)).exit_code == 0


def queued(idp: Idp) -> int:
    status = json.loads(idp("mail", "status", "--json").output)
    return int(status["queued"])


@pytest.mark.spec("M14")
def test_an_account_without_a_password_is_invited_and_again_on_request(idp: Idp) -> None:
    made = idp("account", "add", NAME, "--email", "buzon@example.com", "--json")
    assert made.exit_code == 0, made.errors
    assert json.loads(made.output)["state"] == "invited"
    assert queued(idp) == 1
    again = idp("account", "invite", NAME)
    assert (again.exit_code, again.output) == (0, "invited\n")
    assert queued(idp) == 2


def test_only_an_invited_account_is_invited(idp: Idp) -> None:
    active = ("--email", "buzon@example.com", "--password-stdin", "--active")
    assert idp("account", "add", NAME, *active, stdin=SECRETS).exit_code == 0
    for name in (NAME, "XIA190128J61"):
        refused = idp("account", "invite", name)
        assert refused.exit_code == 1
        assert len(refused.errors.splitlines()) == 1
    assert queued(idp) == 0


@pytest.mark.spec("PW-6")
def test_a_password_brought_along_says_when_it_was_chosen(idp: Idp) -> None:
    add = ("account", "add", NAME, "--email", "buzon@example.com", "--password-stdin", "--active")
    for odd, code in (("yesterday", 2), ("2026-01-02T03:04:05", 2), ("2999-01-01T00:00:00Z", 1)):
        assert idp(*add, "--password-changed-at", odd, stdin=SECRETS).exit_code == code
    made = idp(*add, "--password-changed-at", "2026-01-02T03:04:05-06:00", stdin=SECRETS)
    assert made.exit_code == 0, made.errors
    shown = json.loads(idp("account", "show", NAME, "--json").output)
    assert shown["password_changed_at"] == "2026-01-02 09:04:05+00:00"


@pytest.mark.spec("Q-4")
def test_a_common_answer_is_refused_in_one_line(idp: Idp) -> None:
    add = ("account", "add", NAME, "--email", "b@example.com", "--password-stdin", "--active", "--question", "dish")
    refused = idp(*add, "--answer-stdin", stdin=SECRETS + "pizza\n")
    assert refused.exit_code == 1
    assert "common" in refused.errors
    assert "pizza" not in refused.errors + refused.output
    assert idp(*add, "--answer-stdin", stdin=SECRETS + "mole de olla\n").exit_code == 0
