"""The file of an SQLite database that is made private, while somebody works with it."""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine, select

from idp.audit import AuditEvent
from idp.db import Store, engine_options
from idp.sqlite import make_private
from tests.tables import make_tables

LAST_OUT = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM audit_event'); c.close()"
"""Who closes a database last clears away what SQLite keeps beside it."""


def test_who_has_it_open_keeps_its_locks(tmp_path: Path) -> None:
    file = tmp_path / "idp.db"
    url = f"sqlite:///{file}"
    make_private(url)
    assert file.stat().st_mode & 0o777 == 0o600
    store = Store(create_engine(url, **engine_options(url)))
    make_tables(store.engine)
    log = file.with_name("idp.db-wal")
    with store.read() as connection:
        assert connection.execute(select(AuditEvent.__table__)).all() == []
        assert log.exists()
        make_private(url)
        subprocess.run([sys.executable, "-c", LAST_OUT, str(file)], check=True, timeout=60)
        assert log.exists(), "another process took itself for the last one"
    store.engine.dispose()
