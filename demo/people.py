"""The people of the demo: one of each kind, and one for each screen that needs a past."""

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from demo.commands import run_program, write_private
from demo.places import Places
from idp.accounts.errors import PasswordRefused
from idp.accounts.passwords import check_new_password
from idp.accounts.usernames import parse_username

_CONSONANTS = "bdfgklmnprstvz"
ORGANIZATION = "EKU9003173C9"
QUESTION = "dish"
ANSWER = "Chiles en nogada"
"""What every person of the demo answers to the secret question."""


@dataclass(frozen=True, slots=True)
class DemoUser:
    """One account. The RFCs are SAT's own for tests."""

    username: str
    kind: str
    name: str
    employed: bool = False
    """By the demo's organisation."""
    role: str | None = None
    password_age: timedelta = timedelta()
    """How long ago the password was chosen, so that its end is near or past."""
    locked: bool = False
    invited: bool = False
    """No password yet: an invitation is in the mail inbox."""

    @property
    def mailbox(self) -> str:
        return self.username.lower().replace(".", "-") + "@buzon.example"


USERS = (
    DemoUser("EKU9003173C9", "client", "Cliente de prueba"),
    DemoUser("CT.KICR630120NX3", "employee", "Empleada de prueba", employed=True),
    DemoUser("usr.XIA190128J61", "free", "Usuario del entorno gratuito"),
    DemoUser("adm.demo", "staff", "Administración de prueba", role="admin"),
    DemoUser("IIA040805DZ4", "expiring", "Cliente por vencer", password_age=timedelta(days=28)),
    DemoUser("JES900109Q90", "expired", "Cliente vencido", password_age=timedelta(days=31)),
    DemoUser("URE180429TM6", "locked", "Cliente bloqueado", locked=True),
    DemoUser("CT.MISC491214B86", "invited", "Empleado invitado", employed=True, invited=True),
)


def make_password(username: str) -> str:
    """A password by the provider's rules that is easy to type: two made-up words round four digits."""
    while True:
        words = ["".join(secrets.choice(_CONSONANTS) + secrets.choice("aeiou") for _ in range(3)) for _ in range(2)]
        password = f"{words[0].capitalize()}-{secrets.randbelow(10_000):04d}-{words[1].capitalize()}"
        # Chance may put the name into it: "demo" is one.
        with suppress(PasswordRefused):
            check_new_password(password, username=parse_username(username), brand_words=["Llavero"])
            return password


def read_users(places: Places) -> dict[str, dict[str, Any]]:
    """What is remembered of the demo's accounts, by username."""
    if not places.users_file.exists():
        return {}
    users: dict[str, dict[str, Any]] = json.loads(places.users_file.read_text(encoding="utf-8"))
    return users


def add_people(places: Places, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Make the accounts that are missing, in one process of their own, since only that one has the demo's settings."""
    users = read_users(places)
    for user in USERS:
        users.setdefault(user.username, {"kind": user.kind, "password": make_password(user.username)})
    # Written before any account is made: a run that is cut short leaves no account with an unknown password.
    write_private(places.users_file, json.dumps(users, indent=2, ensure_ascii=False) + "\n")
    for made in run_program([sys.executable, "-m", "demo.accounts"], environment).splitlines():
        say(f"account {made}")
