"""`idp backup`, `idp restore`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from flask import Flask

from idp import audit, snapshot
from idp.cli import archive
from idp.cli.terminal import fail, json_option, migrate, now, open_app, show
from idp.web.current import EXTENSION
from idp.wiring import Services

_DATABASE = "database"
_KEYS = "keys"
VOID = (
    "Void from now on: sessions, codes, refresh tokens, mailed links, known browsers, initial access tokens."
    " People sign in again; send invitations again: idp account invite."
)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--without-keys", is_flag=True, help="Leave the private keys out: they are kept elsewhere.")
@json_option
def backup(file: Path, without_keys: bool, as_json: bool) -> None:
    """Write database and keys to FILE, while servers run.

    FILE is readable to its owner only. It holds private keys, and everything but IDP_SECRET_KEY, without which it is of
    little use: keep that apart.
    """
    services: Services = open_app().extensions[EXTENSION]
    moment = now()
    if file.exists():
        fail(f"{file.name} exists already; nothing is overwritten")
    with _folder_beside(file) as folder:
        (folder / _DATABASE).mkdir(mode=0o700)
        contents = snapshot.take(services.store, folder / _DATABASE)
        keys = [] if without_keys else _copy_keys(services.settings.keys_dir, folder / _KEYS)
        facts = {
            "created_at": moment.isoformat(),
            "issuer": services.settings.issuer,
            "secret": services.fingerprint,
            "database": contents.database,
            "revision": contents.revision,
            "rows": contents.rows,
            "keys": len(keys),
        }
        try:
            total = archive.write(file, folder, facts)
        except FileExistsError:
            fail(f"{file.name} exists already; nothing is overwritten")
    with services.store.write() as tx:
        audit.record(tx, audit.Event.BACKUP_CREATE, now=moment, detail={"sha256": total})
    show({"file": str(file), "sha256": total, **facts, "rows": sum(contents.rows.values())}, as_json)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Give up what the present database holds.")
@click.option("--other-secret", is_flag=True, help="Go on though IDP_SECRET_KEY is another than the backup's.")
@json_option
def restore(file: Path, replace: bool, other_secret: bool, as_json: bool) -> None:
    """Bring back database and keys from FILE. Stop every server and worker first.

    A new epoch begins: whatever was handed out before and could be spent again is void. Accounts, passwords, clients
    and locks are those of the backup.
    """
    app = open_app()
    services: Services = app.extensions[EXTENSION]
    database = services.store.engine.dialect.name
    target = Path(str(services.store.engine.url.database)) if database == "sqlite" else file
    with _folder_beside(target) as folder:
        found = archive.read(file, folder)
        _check(services, found.facts, other_secret=other_secret)
        if _holds_something(services) and not replace:
            fail("the database holds accounts or clients already; --replace gives them up")
        bring_back = _bring_back_sqlite if database == "sqlite" else _bring_back_postgresql
        epoch, aside = bring_back(app, found.facts, folder / _DATABASE)
        keys = _return_keys(folder / _KEYS, services.settings.keys_dir)
    show(
        {
            "restored": found.facts["created_at"],
            "epoch": epoch,
            "rows": sum(found.facts["rows"].values()),
            "keys": len(keys),
            "old_database": aside,
            "note": VOID,
        },
        as_json,
    )


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """A folder of our own on the same file system, so that what is made in it can be moved; gone at the end."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".idp-", dir=path.parent) as folder:
        yield Path(folder)


def _check(services: Services, facts: Mapping[str, Any], *, other_secret: bool) -> None:
    database = services.store.engine.dialect.name
    if facts["database"] != database:
        fail(f"the backup is of {facts['database']}, IDP_DATABASE_URL names {database}")
    if facts["secret"] != services.fingerprint and not other_secret:
        fail(
            "IDP_SECRET_KEY is another than the backup's: locks, decoy questions, pairwise subjects and sealed client"
            " secrets would be lost; put the old one back, or say --other-secret"
        )


def _holds_something(services: Services) -> bool:
    found = not snapshot.is_empty(services.store)
    services.store.engine.dispose()
    return found


def _bring_back_sqlite(app: Flask, facts: Mapping[str, Any], folder: Path) -> tuple[int, str | None]:
    """All is done to the copy; then it takes the place of the database in one step."""
    services: Services = app.extensions[EXTENSION]
    copy, moment = folder / snapshot.FILE, now()
    other = open_app(f"sqlite:///{copy}")
    made: Services = other.extensions[EXTENSION]
    migrate(other)
    with made.store.write() as tx:
        epoch = made.void_what_was_issued(moment, tx=tx)
        _record(tx, facts, epoch)
    snapshot.close_copy(made.store)
    path = Path(str(services.store.engine.url.database))
    aside = path.with_name(f"{path.name}.before-{moment:%Y%m%dT%H%M%SZ}")
    return epoch, str(aside) if snapshot.put_in_place(services.store, copy, aside=aside) else None


def _bring_back_postgresql(app: Flask, facts: Mapping[str, Any], folder: Path) -> tuple[int, str | None]:
    """All is one transaction, the tables included."""
    services: Services = app.extensions[EXTENSION]
    moment = now()
    with snapshot.rebuilding(services.store) as tx:
        migrate(app, facts["revision"], connection=tx)
        snapshot.fill(tx, folder, facts["rows"])
        migrate(app, connection=tx)
        epoch = services.void_what_was_issued(moment, tx=tx)
        _record(tx, facts, epoch)
    return epoch, None


def _record(tx: Any, facts: Mapping[str, Any], epoch: int) -> None:
    detail = {"epoch": epoch, "created_at": facts["created_at"]}
    audit.record(tx, audit.Event.BACKUP_RESTORE, now=now(), detail=detail)


def _copy_keys(source: Path, target: Path) -> list[str]:
    target.mkdir(mode=0o700)
    return [_copy(path, target / path.name) for path in sorted(source.glob("*.pem"))]


def _return_keys(source: Path, target: Path) -> list[str]:
    """Bring back the keys that are missing; one that was retired since the backup stays retired."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    retired = {_kid(path) for path in target.glob("*.retired")}
    present = {_kid(path) for path in target.glob("*.pem")}
    return [
        _copy(path, target / path.name) for path in sorted(source.glob("*.pem")) if _kid(path) not in retired | present
    ]


def _kid(path: Path) -> str:
    # A rotation may rename a key: its time changes, its id stays.
    return path.stem.split("-", 2)[-1]


def _copy(source: Path, target: Path) -> str:
    data = source.read_bytes()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return target.name
