"""The invoices of a folder of CFDI files, and which of them a token may see."""

import hashlib
import logging
import os
import threading
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from stat import S_ISREG
from typing import Any

from idp_kit import Decision, MailboxClaim, decide, stamp_to_store, visible_clause
from sqlalchemy import Column, ColumnElement, DateTime, Engine, Integer, String, Table, and_, func, not_, select
from sqlalchemy.dialects.sqlite import insert

from invoice_mailbox.cfdi import FILE_SIZE_MAX, Cfdi, UnreadableCfdi, read_cfdi
from invoice_mailbox.database import metadata

log = logging.getLogger(__name__)

QUERY_LENGTH_MAX = 100
_QUERY_WORDS_MAX = 8

cfdi_table = Table(
    "cfdi",
    metadata,
    # The file is the key: UUIDs repeat.
    Column("path", String, primary_key=True),
    Column("key", String(32), unique=True, nullable=False),
    Column("size", Integer),
    Column("modified", Integer),
    # The first sight of the file, UTC. Never written again.
    Column("received", DateTime, nullable=False),
    # Why it is not served; then everything below is NULL, so that no query can find it.
    Column("problem", String),
    Column("digest", String(64)),
    Column("uuid", String(36)),
    Column("kind", String(1)),
    Column("version", String(3)),
    Column("issuer_rfc", String(20)),
    Column("issuer_name", String),
    Column("receiver_rfc", String(13), index=True),
    Column("receiver_name", String),
    Column("total", String(26)),
    Column("currency", String(20)),
    Column("issued", DateTime),
    # Central Mexico time, naive, as the kit wants it.
    Column("stamped", DateTime, index=True),
    Column("search", String),
)

_CFDI_COLUMNS = tuple(field.name for field in fields(Cfdi))


@dataclass(frozen=True, slots=True)
class Invoice:
    """One served document, as the index knows it."""

    key: str
    path: str
    digest: str
    received: datetime
    cfdi: Cfdi


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list, and how long the whole list is."""

    invoices: tuple[Invoice, ...]
    count: int


class Store:
    """Reads the folder, remembers when each file was first seen, and answers for one retention claim at a time."""

    def __init__(self, folder: Path, engine: Engine, *, scan_interval: float = 3.0) -> None:
        self._folder = folder
        self._engine = engine
        self._scan_interval = scan_interval
        self._scanned_at: float | None = None
        self._scanning = threading.Lock()

    def refresh(self, now: datetime) -> None:
        """See what changed in the folder, unless it was looked at a moment ago or another thread is looking."""
        if self._scanned_at is not None and time.monotonic() - self._scanned_at < self._scan_interval:
            return
        if not self._scanning.acquire(blocking=self._scanned_at is None):
            return
        try:
            self._scan(now)
            self._scanned_at = time.monotonic()
        finally:
            self._scanning.release()

    def search(
        self,
        claim: MailboxClaim,
        now: datetime,
        *,
        query: str = "",
        closing_first: bool = False,
        offset: int = 0,
        limit: int,
    ) -> Listing:
        """What the claim lets its bearer see at `now`, newest stamp first or oldest, narrowed to what `query` finds."""
        stamped = cfdi_table.c.stamped
        clause = and_(_visible(claim, now), *_matches(query))
        with self._engine.connect() as connection:
            count = connection.execute(select(func.count()).where(clause)).scalar_one()
            rows = connection.execute(
                select(cfdi_table)
                .where(clause)
                .order_by(stamped if closing_first else stamped.desc(), cfdi_table.c.path)
                .offset(offset)
                .limit(limit)
            ).mappings()
            return Listing(tuple(_invoice(row) for row in rows), count)

    def stamps(self, claim: MailboxClaim, now: datetime) -> list[datetime]:
        """The stamp of every visible invoice."""
        with self._engine.connect() as connection:
            return list(connection.execute(select(cfdi_table.c.stamped).where(_visible(claim, now))).scalars())

    def count_safekeeping(self, claim: MailboxClaim, now: datetime) -> int:
        """How many invoices the claim's owner has received that lie past the window."""
        # Whoever may see nothing learns no number either.
        if "read" not in claim.actions or "receiver" not in claim.role:
            return 0
        clause = and_(cfdi_table.c.receiver_rfc == claim.rfc, not_(_visible(claim, now)))
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).where(clause)).scalar_one())

    def find(self, claim: MailboxClaim, key: str, now: datetime) -> tuple[Decision, Invoice | None]:
        """What becomes of one invoice. Unknown and somebody else's are both `HIDDEN`, without an invoice."""
        with self._engine.connect() as connection:
            row = (
                connection.execute(
                    select(cfdi_table).where(
                        cfdi_table.c.key == key, cfdi_table.c.problem.is_(None), cfdi_table.c.receiver_rfc.is_not(None)
                    )
                )
                .mappings()
                .first()
            )
        if row is None:
            return Decision.HIDDEN, None
        invoice = _invoice(row)
        decision = decide(
            claim,
            invoice.cfdi.receiver_rfc,
            invoice.cfdi.stamped,
            now,
            invoice.received,
        )
        return decision, None if decision is Decision.HIDDEN else invoice

    def read(self, invoice: Invoice) -> bytes | None:
        """The file itself; None when it is no longer the one that was indexed."""
        try:
            content = _read_file(self._folder / invoice.path)
        except (OSError, UnreadableCfdi):
            return None
        return content if hashlib.sha256(content).hexdigest() == invoice.digest else None

    def _scan(self, now: datetime) -> None:
        with self._engine.connect() as connection:
            known = {
                row.path: row
                for row in connection.execute(
                    select(cfdi_table.c.path, cfdi_table.c.size, cfdi_table.c.modified, cfdi_table.c.received)
                )
            }
        changes: list[dict[str, Any]] = []
        seen: set[str] = set()
        for path, status in _walk(self._folder):
            seen.add(path)
            row = known.get(path)
            if row is not None and (row.size, row.modified) == (status.st_size, status.st_mtime_ns):
                continue
            received = now if row is None else row.received.replace(tzinfo=UTC)
            changes.append(_index(self._folder, path, status, received))
        # A file that is gone keeps its row, and with it the moment of its receipt, should it come back.
        changes += [
            {**_blank(path), "received": row.received, "problem": "gone"}
            for path, row in known.items()
            if path not in seen and row.size is not None
        ]
        if changes:
            statement = insert(cfdi_table)
            columns = [column.name for column in cfdi_table.c if column.name not in {"path", "key", "received"}]
            statement = statement.on_conflict_do_update(
                index_elements=[cfdi_table.c.path], set_={name: statement.excluded[name] for name in columns}
            )
            with self._engine.begin() as connection:
                connection.execute(statement, changes)


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular `.xml` file below, by its path from `folder`; a link is not followed, it could lead anywhere."""
    for parent, _folders, names in os.walk(folder):
        for name in sorted(names):
            full = Path(parent, name)
            if full.suffix.lower() != ".xml":
                continue
            try:
                status, path = full.lstat(), full.relative_to(folder).as_posix()
                path.encode()
            except (OSError, UnicodeEncodeError):
                log.warning("a file that cannot be looked at was skipped")
                continue
            if S_ISREG(status.st_mode):
                yield path, status


def _index(folder: Path, path: str, status: os.stat_result, received: datetime) -> dict[str, Any]:
    row = _blank(path) | {
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "received": received.astimezone(UTC).replace(tzinfo=None),
    }
    try:
        content = _read_file(folder / path)
        cfdi = read_cfdi(content)
        if stamp_to_store(cfdi.stamped, received) is None:
            raise UnreadableCfdi("stamped later than it was received, or in no year of CFDI")
    except (OSError, UnreadableCfdi) as error:
        reason = str(error) if isinstance(error, UnreadableCfdi) else "it cannot be read"
        log.warning("%s is not served: %s", path, reason)
        return row | {"problem": reason}
    return row | {
        **{name: getattr(cfdi, name) for name in _CFDI_COLUMNS},
        "total": str(cfdi.total),
        "digest": hashlib.sha256(content).hexdigest(),
        "search": _folded(
            f"{cfdi.issuer_name} {cfdi.issuer_rfc} {cfdi.uuid} {cfdi.total} {cfdi.total:.2f} {cfdi.currency}"
        ),
    }


def _blank(path: str) -> dict[str, Any]:
    key = hashlib.sha256(path.encode()).hexdigest()[:32]
    return dict.fromkeys((column.name for column in cfdi_table.c), None) | {"path": path, "key": key}


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_SIZE_MAX + 1)
    if len(content) > FILE_SIZE_MAX:
        raise UnreadableCfdi("larger than a CFDI may be")
    return content


def _invoice(row: Any) -> Invoice:
    cfdi = Cfdi(**{name: row[name] for name in _CFDI_COLUMNS} | {"total": Decimal(row["total"])})
    return Invoice(row["key"], row["path"], row["digest"], row["received"].replace(tzinfo=UTC), cfdi)


def _visible(claim: MailboxClaim, now: datetime) -> ColumnElement[bool]:
    return visible_clause(claim, rfc_column=cfdi_table.c.receiver_rfc, stamped_column=cfdi_table.c.stamped, now=now)


def _matches(query: str) -> list[ColumnElement[bool]]:
    """Each word must be found; `$` and thousands commas of an amount do not count."""
    words = _folded(query[:QUERY_LENGTH_MAX]).replace("$", "").split()[:_QUERY_WORDS_MAX]
    return [cfdi_table.c.search.contains(_without_commas(word), autoescape=True) for word in words]


def _without_commas(word: str) -> str:
    return word.replace(",", "") if word.replace(",", "").replace(".", "").isdigit() else word


def _folded(text: str) -> str:
    """Without case and accents, so that "papeleria" finds "PAPELERÍA"."""
    decomposed = unicodedata.normalize("NFKD", text.replace("\0", " "))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()
