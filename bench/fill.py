"""Fills a store as years of use do: accounts, clients, grants, tokens spent and live, sessions, audit rows.

Each row is a copy of one that the server itself has made, with other keys and times, made by the database: five
million take a minute or two, and no column is known here that need not be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    cast,
    create_engine,
    func,
    insert,
    literal,
    null,
    select,
    text,
    true,
)

import idp.accounts.models
import idp.audit
import idp.ephemeral
import idp.outbox
import idp.protocol.models  # noqa: F401  # imported so that every table is known
from idp.db import Base, UtcDateTime

SIGNED_IN = 200
"""How many accounts the load comes from: spread over the store, so that not only what lies together is read."""
_TOKENS_OF_A_GRANT = 10
_CLIENT = "relleno-"


@dataclass(frozen=True, slots=True)
class Amounts:
    """What is put into a store."""

    accounts: int = 100_000
    clients: int = 1_000
    tokens: int = 5_000_000


NOTHING = Amounts(SIGNED_IN, 0, 0)
"""Only whom the load needs: the empty store that a filled one is compared with."""


def fill(url: str, amounts: Amounts, say: Callable[[str], None]) -> list[str]:
    """Fill the store at `url`, in which one account has signed in and been given a refresh token.

    `SIGNED_IN` usernames, spread over all; their password is that account's. No server may be running on it.
    """
    engine, begun = create_engine(url), perf_counter()
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA synchronous=OFF")
                connection.exec_driver_sql("PRAGMA cache_size=-500000")
            names = _fill_accounts(connection, amounts.accounts)
            connection.commit()
            if amounts.tokens:
                _fill_grants(connection, amounts, say)
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.commit()
        if engine.dialect.name == "postgresql":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                # What autovacuum would do soon, and then in the middle of what is measured.
                connection.execute(text("VACUUM ANALYZE"))
                connection.execute(text("CHECKPOINT"))
    finally:
        engine.dispose()
    say(
        f"  filled with {amounts.accounts} accounts, {amounts.clients} clients, {amounts.tokens} tokens in "
        f"{perf_counter() - begun:.0f} s"
    )
    return names[:: max(1, len(names) // SIGNED_IN)][:SIGNED_IN]


def username(number: int) -> str:
    """A username of the shape of an RFC, another for each number up to 676 000."""
    most, letters, last = number // 17_576 // 36, number % 17_576, number // 17_576 % 36
    first, second, third = (chr(65 + part) for part in (letters // 676, letters // 26 % 26, letters % 26))
    return f"X{first}{second}{third}010101{chr(65 + most)}{'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'[last]}1"


def _table(name: str) -> Table:
    return Base.metadata.tables[name]


def _fill_accounts(connection: Connection, count: int) -> list[str]:
    account, organization = _table("account"), _table("organization")
    grant = _table("authorization_grant")
    owner = select(grant.c.account_id).limit(1).scalar_subquery()
    known = connection.execute(select(account).where(account.c.id == owner)).one()._asdict()
    organizations, accounts, names = [], [], []
    for number in range(count):
        name, home = username(number), str(uuid4())
        names.append(name)
        organizations.append({"id": home, "rfc": name, "created_at": known["created_at"]})
        own = {"id": str(uuid4()), "username": name, "rfc": name, "organization_id": home}
        accounts.append({key: value for key, value in {**known, **own}.items() if value is not None})
    connection.execute(insert(organization), organizations)
    connection.execute(insert(account), accounts)
    return names


def _fill_grants(connection: Connection, amounts: Amounts, say: Callable[[str], None]) -> None:
    _fill_clients(connection, amounts.clients)
    account, grant, token = _table("account"), _table("authorization_grant"), _table("refresh_token")
    session, known = _table("sign_in_session"), _table("known_device")
    audit, ephemeral = _table("audit_event"), _table("ephemeral")
    made = connection.execute(select(grant).limit(1)).one()
    seen = connection.execute(select(token).limit(1)).one()
    now = datetime.now(UTC)
    everybody = account.c.username.like("X%")
    for_each = max(1, amounts.tokens // _TOKENS_OF_A_GRANT // amounts.accounts)
    digest, short = _random_text(connection, 43), _random_text(connection, 22)
    client = literal(_CLIENT) + cast(_random_below(connection, amounts.clients), String)
    for turn in range(for_each):
        at = now - timedelta(hours=7 * turn + 1)
        times = {"auth_time": at, "created_at": at, "expires_at": made.expires_at - timedelta(hours=turn)}
        changed = {"id": short, "account_id": account.c.id, "client_id": client, "sid": _random_text(connection, 36)}
        _copy(connection, grant, grant.c.id == made.id, (account, everybody), **changed, **times)
    say("  grants are made")
    for turn in range(_TOKENS_OF_A_GRANT):
        at = now - timedelta(minutes=40 * (_TOKENS_OF_A_GRANT - turn))
        spent = at if turn < _TOKENS_OF_A_GRANT - 1 else None
        holder = grant.alias("holder")
        _copy(
            connection,
            token,
            token.c.digest == seen.digest,
            (holder, holder.c.client_id.like(f"{_CLIENT}%")),
            ordered=True,
            digest=digest,
            grant_id=holder.c.id,
            issued_at=at,
            spent_at=spent,
        )
        say(f"  {turn + 1} of {_TOKENS_OF_A_GRANT} tokens of each grant")
    one = select(session.c.id).where(session.c.account_id.is_not(None)).limit(1).scalar_subquery()
    _copy(
        connection,
        session,
        session.c.id == one,
        (account, everybody),
        id=digest,
        browser=_random_text(connection, 43),
        account_id=account.c.id,
        sid=_random_text(connection, 36),
    )
    one = select(known.c.digest).limit(1).scalar_subquery()
    _copy(connection, known, known.c.digest == one, (account, everybody), digest=digest, account_id=account.c.id)
    one = select(ephemeral.c.key_digest).where(ephemeral.c.spent_at.is_not(None)).limit(1).scalar_subquery()
    _copy(connection, ephemeral, ephemeral.c.key_digest == one, (account, everybody), key_digest=digest)
    one = select(func.max(audit.c.id)).scalar_subquery()
    for _ in range(_TOKENS_OF_A_GRANT):
        _copy(connection, audit, audit.c.id == one, (account, everybody), left_out=("id",), account_id=account.c.id)


def _fill_clients(connection: Connection, count: int) -> None:
    client = _table("client")
    known = connection.execute(select(client).limit(1)).one()._asdict()
    rows = [
        {name: value for name, value in {**known, "client_id": f"{_CLIENT}{number}"}.items() if value is not None}
        for number in range(count)
    ]
    connection.execute(insert(client), rows)


def _copy(
    connection: Connection,
    table: Table,
    one: ColumnElement[bool],
    holders: tuple[Any, ColumnElement[bool]],
    *,
    left_out: tuple[str, ...] = (),
    ordered: bool = False,
    **changed: Any,
) -> None:
    """For each holder a row as the `one` of `table`, with `changed` in it."""
    pattern = select(table).where(one).limit(1).subquery("pattern")
    whole, among = holders
    names, values = [], []
    for column in table.columns:
        if column.name in left_out:
            continue
        value = changed.get(column.name, pattern.c[column.name])
        if isinstance(value, datetime):
            value = literal(value, UtcDateTime())
        names.append(column.name)
        values.append(null() if value is None else value)
    rows = select(*values).select_from(whole.join(pattern, true())).where(among)
    # In the order of the key, as an index likes it; ten such runs leave pages as full as random keys do.
    connection.execute(insert(table).from_select(names, rows.order_by(text("1")) if ordered else rows))
    connection.commit()


def _random_text(connection: Connection, length: int) -> ColumnElement[str]:
    """Another for each row."""
    if connection.dialect.name == "sqlite":
        whole: ColumnElement[Any] = func.lower(func.hex(func.randomblob(22)))
    else:
        whole = func.md5(cast(func.random(), String)).op("||")(func.md5(cast(func.random(), String)))
    return func.substr(whole, 1, length)


def _random_below(connection: Connection, limit: int) -> ColumnElement[int]:
    if connection.dialect.name == "sqlite":
        return func.abs(func.random() % limit)
    return cast(func.floor(func.random() * limit), Integer)
