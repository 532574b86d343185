"""What is true of this installation as a whole: that its store can be written, and when it was last restored."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Connection, String, bindparam, select, text
from sqlalchemy.orm import Mapped, mapped_column

from idp.db import Base, Store, UtcDateTime

_WRITTEN = "written"
_RESTORED = "restored"


class InstallationFact(Base):
    """One fact, by its name."""

    __tablename__ = "installation"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


_F = InstallationFact
_FIND = select(_F.value, _F.at).where(_F.name == bindparam("name"))


def prove_writable(store: Store, now: datetime) -> None:
    """Commit a row to the store; `StoreUnavailable` where that cannot be done (O-3)."""
    with store.write() as tx:
        _note(store, tx, _WRITTEN, 1, now)


def raise_epoch(store: Store, tx: Connection, now: datetime) -> int:
    """Note that the installation was restored at `now`; how often that has been so."""
    found = tx.execute(_FIND, {"name": _RESTORED}).first()
    epoch = 1 if found is None else int(found.value) + 1
    _note(store, tx, _RESTORED, epoch, now)
    return epoch


def find_restored_at(store: Store) -> datetime | None:
    """When the installation was last restored from a backup; None: never."""
    with store.read() as connection:
        found = connection.execute(_FIND, {"name": _RESTORED}).first()
    return None if found is None else found.at


class Restored:
    """When the installation was last restored, asked of the store once: it happens while no process runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at: datetime | None = None
        self._asked = False

    def is_after(self, instant: datetime) -> bool:
        """Whether something of `instant` is from before the last restore. `StoreUnavailable`."""
        if not self._asked:
            self._at = find_restored_at(self._store)
            self._asked = True
        return self._at is not None and self._at >= instant


@dataclass(frozen=True, slots=True)
class Server:
    """A database server, as `idp doctor` judges it."""

    clock: datetime
    version: str
    connections_max: int
    connections: int
    """Of everybody, this one included."""
    fsync: str
    synchronous_commit: str
    """Of our own connections: the database or the role may have it otherwise than the server."""
    synchronous_standby_names: str


def find_server(store: Store) -> Server | None:
    """What the database's server says of itself; None for SQLite, which has none."""
    if store.engine.dialect.name != "postgresql":
        return None
    with store.read() as connection:
        # The one place that asks the database for the time (O-7): to compare it with ours.
        row = connection.execute(
            text(
                "SELECT clock_timestamp() AS clock, current_setting('server_version') AS version,"
                " current_setting('max_connections')::int AS most, (SELECT count(*) FROM pg_stat_activity) AS now,"
                # A distributed PostgreSQL need not know all of them.
                " coalesce(current_setting('fsync', true), 'on') AS fsync,"
                " coalesce(current_setting('synchronous_commit', true), 'on') AS synchronous,"
                " coalesce(current_setting('synchronous_standby_names', true), '') AS standbys"
            )
        ).one()
    return Server(
        clock=row.clock.astimezone(UTC),
        version=row.version,
        connections_max=row.most,
        connections=row.now,
        fsync=row.fsync,
        synchronous_commit=row.synchronous,
        synchronous_standby_names=row.standbys,
    )


def _note(store: Store, tx: Connection, name: str, value: int, now: datetime) -> None:
    new = store.insert(_F).values(name=name, value=value, at=now)
    tx.execute(new.on_conflict_do_update(index_elements=["name"], set_={"value": value, "at": now}))
