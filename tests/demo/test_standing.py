"""What the demo prints is true at its second start too, after somebody has followed what it proposes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from demo.people import ORGANIZATION, USERS, DemoUser, make_password
from demo.places import Places
from demo.ready import describe
from demo.standing import Standing, find_standings
from idp.app import create_app
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import Services
from tests.tables import make_tables

KINDS = {user.kind: user for user in USERS}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """The provider on a database of its own."""
    settings = Settings(
        secret_key="0123456789abcdef0123456789abcdef-tests",
        database_url=f"sqlite:///{tmp_path / 'idp.db'}",
        keys_dir=tmp_path / "keys",
    )
    found: Services = create_app(settings).extensions[EXTENSION]
    make_tables(found.store.engine)
    return found


def test_each_standing_is_found(services: Services) -> None:
    now = datetime.now(UTC)
    remembered: dict[str, dict[str, Any]] = {
        user.username: {"password": make_password(user.username)} for user in USERS
    }
    _make(services, KINDS["client"], remembered[KINDS["client"].username]["password"], now)
    _make(services, KINDS["expired"], remembered[KINDS["expired"].username]["password"], now - timedelta(days=31))
    _make(services, KINDS["locked"], make_password(KINDS["locked"].username), now)
    _make(services, KINDS["expiring"], remembered[KINDS["expiring"].username]["password"], now)
    services.lifecycle.disable(KINDS["expiring"].username, now)
    _make(services, KINDS["invited"], None, now)
    assert find_standings(remembered, services) == {
        KINDS["client"].username: Standing.GOOD,
        KINDS["expired"].username: Standing.EXPIRED,
        KINDS["locked"].username: Standing.CHANGED,
        KINDS["expiring"].username: Standing.DISABLED,
        KINDS["invited"].username: Standing.INVITED,
        KINDS["employee"].username: Standing.GONE,
        KINDS["free"].username: Standing.GONE,
        KINDS["staff"].username: Standing.GONE,
    }


def _make(services: Services, user: DemoUser, password: str | None, changed_at: datetime) -> None:
    services.lifecycle.create(
        user.username,
        email=user.mailbox,
        name=user.name,
        organization_rfc=ORGANIZATION if user.employed else None,
        now=datetime.now(UTC),
        password=password,
        question=None if password is None else "dish",
        answer=None if password is None else "Chiles en nogada",
        password_changed_at=None if password is None else changed_at,
    )


@pytest.mark.parametrize(
    ("kind", "standing", "shown", "hidden"),
    [
        ("expired", Standing.EXPIRED, "is changed on the way", "you have changed it"),
        ("expired", Standing.CHANGED, "you have changed it", "is changed on the way"),
        ("invited", Standing.INVITED, "Open the invitation", "has been activated"),
        ("invited", Standing.CHANGED, "has been activated", "Open the invitation"),
        ("locked", Standing.LOCKED, "is already", "was until"),
        ("locked", Standing.CHANGED, "was until you opened it", "is already"),
        ("expiring", Standing.GOOD, "is warned on the page", "has expired by now"),
        ("expiring", Standing.EXPIRED, "has expired by now", "is warned on the page"),
    ],
)
def test_the_greeting_says_how_things_stand(
    tmp_path: Path, kind: str, standing: Standing, shown: str, hidden: str
) -> None:
    places = Places.from_environment({"DEMO_INSTANCE": str(tmp_path)})
    passwords = {user.username: make_password(user.username) for user in USERS}
    places.users_file.write_text(_as_json(passwords))
    standings = {user.username: Standing.GOOD for user in USERS} | {KINDS[kind].username: standing}
    text = describe(places, standings)
    assert shown in text
    assert hidden not in text
    printed = standing not in {Standing.CHANGED, Standing.INVITED}
    assert (passwords[KINDS[kind].username] in text) is printed
    assert passwords[KINDS["client"].username] in text


def _as_json(passwords: dict[str, str]) -> str:
    return json.dumps({username: {"password": password} for username, password in passwords.items()})
