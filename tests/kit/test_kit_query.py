"""The rule as a SQLAlchemy condition: the same answer as for one invoice."""

# ruff: noqa: DTZ001 - a stamp is a naive time by definition.

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idp_kit import MailboxClaim, is_visible, stamp_instant, stamp_to_store, visible_clause
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    insert,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

RFC, OTHER = "EKU9003173C9", "XIA190128J61"

INVOICE = Table(
    "invoice",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("receiver", String),
    Column("issuer", String),
    Column("stamped", DateTime),
)


class Base(DeclarativeBase):
    pass


class Invoice(Base):
    __tablename__ = "mapped_invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    receiver: Mapped[str]
    stamped: Mapped[datetime | None]


def claim(**changed: object) -> MailboxClaim:
    members: dict[str, object] = {
        "rfc": RFC,
        "actions": frozenset({"read"}),
        "role": frozenset({"receiver"}),
        "retention_days": 90,
        "time_zone": "America/Mexico_City",
        "stamped_from": date(2010, 1, 1),
    }
    return MailboxClaim(**members | changed)  # type: ignore[arg-type] - a test's shorthand


@pytest.fixture(scope="module")
def database() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    INVOICE.metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def shown(
    database: Connection, rows: list[tuple[str, str, datetime | None]], claim: MailboxClaim, now: datetime
) -> list[int]:
    database.execute(delete(INVOICE))
    database.execute(
        insert(INVOICE),
        [{"id": n, "receiver": r, "issuer": i, "stamped": s} for n, (r, i, s) in enumerate(rows)],
    )
    columns = INVOICE.c
    clause = visible_clause(
        claim, rfc_column=columns.receiver, issuer_column=columns.issuer, stamped_column=columns.stamped, now=now
    )
    return list(database.scalars(select(columns.id).where(clause).order_by(columns.id)))


NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
NEAR = st.integers(-130 * 86_400, 2 * 86_400).map(lambda seconds: NOW.replace(tzinfo=None) + timedelta(seconds=seconds))
EDGES = st.sampled_from(
    [
        datetime(2026, 8, 26),
        datetime(2026, 8, 25, 23, 59, 59),
        datetime(2026, 11, 24, 12),
        datetime(2026, 11, 24, 12, 0, 1),
    ]
)
ROWS = st.lists(
    st.tuples(st.sampled_from([RFC, OTHER]), st.sampled_from([RFC, OTHER]), st.none() | NEAR | EDGES),
    min_size=1,
    max_size=12,
)


@pytest.mark.spec("K-6")
@settings(max_examples=150, deadline=None)
@given(
    rows=ROWS,
    zone=st.sampled_from(["America/Mexico_City", "America/Tijuana", "UTC", "Pacific/Kiritimati"]),
    days=st.sampled_from([1, 30, 90]),
    stamped_from=st.sampled_from([date(2010, 1, 1), date(2026, 8, 26), date(2026, 11, 20), None]),
    roles=st.sets(st.sampled_from(["receiver", "issuer"]), min_size=1),
)
def test_query_and_single_decision_agree(
    database: Connection,
    rows: list[tuple[str, str, datetime | None]],
    zone: str,
    days: int,
    stamped_from: date | None,
    roles: set[str],
) -> None:
    obeyed = claim(
        time_zone=zone,
        retention_days=days,
        stamped_from=stamped_from,
        archive=stamped_from is None,
        role=frozenset(roles),
    )
    expected = [
        n
        for n, (receiver, issuer, stamp) in enumerate(rows)
        if is_visible(obeyed, receiver, stamp, NOW, NOW + timedelta(days=9), issuer=issuer)
    ]
    assert shown(database, rows, obeyed, NOW) == expected


def test_a_kept_stamp_that_was_later_than_its_receipt_stays_hidden(database: Connection) -> None:
    stamp = "2026-11-24T11:00:00"
    early = stamp_to_store(stamp, stamp_instant(stamp) - timedelta(seconds=1))
    kept = stamp_to_store(stamp, stamp_instant(stamp))
    assert shown(database, [(RFC, OTHER, early), (RFC, OTHER, kept)], claim(), NOW) == [1]


def test_as_issuer_without_a_column_for_it_nothing_is_shown(database: Connection) -> None:
    columns = INVOICE.c
    for role, expected in (({"issuer"}, []), ({"issuer", "receiver"}, [0])):
        shown(database, [(RFC, RFC, datetime(2026, 11, 20))], claim(), NOW)
        clause = visible_clause(
            claim(role=frozenset(role)), rfc_column=columns.receiver, stamped_column=columns.stamped, now=NOW
        )
        assert list(database.scalars(select(columns.id).where(clause))) == expected


def test_mapped_attributes_serve_as_well() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(insert(Invoice), [{"id": 1, "receiver": RFC, "stamped": datetime(2026, 11, 20)}])
        clause = visible_clause(claim(), rfc_column=Invoice.receiver, stamped_column=Invoice.stamped, now=NOW)
        assert connection.scalars(select(Invoice.id).where(clause)).all() == [1]
    engine.dispose()


@pytest.mark.parametrize("kind", [String(), Integer(), DateTime(timezone=True)], ids=repr)
def test_a_column_that_would_compare_wrongly_is_refused(kind: String | Integer | DateTime) -> None:
    with pytest.raises(TypeError, match="DateTime without time zone"):
        visible_clause(claim(), rfc_column=INVOICE.c.receiver, stamped_column=Column("stamped", kind), now=NOW)
