"""Which migrations a database has had, and which it should have."""

import re
from functools import cache
from pathlib import Path

from sqlalchemy import inspect, text

from idp.db import Store

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_OWN = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_BEFORE = re.compile(r'^down_revision = "(\w+)"$', re.MULTILINE)


@cache
def _known() -> tuple[str, frozenset[str]]:
    """The newest migration of this release, and all of them."""
    # Read here: Alembic and what it brings are 15 MiB, which a server would need for these few words.
    texts = [path.read_text("utf-8") for path in MIGRATIONS.glob("versions/*.py")]
    known, before = (frozenset(name for text in texts for name in each.findall(text)) for each in (_OWN, _BEFORE))
    [newest] = known - before
    return newest, known


def newest() -> str:
    """The migration that this release needs."""
    return _known()[0]


def find_present(store: Store) -> str | None:
    """The migration that the database has; None: it has no tables of ours. Raises `StoreUnavailable`."""
    with store.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def is_current(present: str | None) -> bool:
    """Whether this release can work on a database with the migration `present`.

    A migration that this release does not know is a later one: during an upgrade the old release works on the new
    tables (F-12).
    """
    return present == newest() or is_later(present)


def is_later(present: str | None) -> bool:
    """Whether the migration `present` is one that this release does not know."""
    return present is not None and present not in _known()[1]
