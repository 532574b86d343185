"""Which migrations a database has had, and which it should have."""

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from idp.db import Store

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


@cache
def _known() -> tuple[str, tuple[str, ...]]:
    """The newest migration of this release, and all of them."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    return str(scripts.get_current_head()), tuple(script.revision for script in scripts.walk_revisions())


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
    head, known = _known()
    return present == head or (present is not None and present not in known)
