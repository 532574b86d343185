"""The retention claim: read it, write it, obey it.

The rule: natural days in the claim's time zone, the day of stamping is day 0, the last day is visible in full. An
invoice is visible while `now < hidden_at`, which is 00:00 of the day after. Everything here fails closed: what cannot
be read, compared or placed in time is not visible.

An invoice's RFC is compared letter for letter with the claim's: keep it as SAT writes it, capitals without spaces.
"""

import enum
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from idp_kit.errors import InvalidRetention, InvalidStamp

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute

ACTIONS = ("read", "download")
ROLES = ("receiver", "issuer")
"""What a claim may name, in the order in which it is written. Whatever else it names is refused."""

STAMP_TIME_ZONE = "America/Mexico_City"
"""`@FechaTimbrado` is central Mexico time without an offset (SAT, Anexo 20), whatever zone bounds the window."""

RETENTION_DAYS_MAX = 36_525
"""A century. More is no window but a mistake, and would leave the calendar."""

_RFC = re.compile(r"[A-ZÑ&]{3,4}[0-9]{6}[A-Z0-9]{2}[0-9A]")
_GENERIC_RFCS = frozenset({"XAXX010101000", "XEXX010101000"})
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# SAT's t_FechaH, which begins in 2010: years in which no zone can leave the calendar.
_STAMP = re.compile(r"20[1-9][0-9]-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_YEARS = range(2010, 2100)
_MEMBERS = frozenset({"rfc", "actions", "role", "retention_days", "time_zone", "stamped_from", "archive"})


@dataclass(frozen=True, slots=True)
class MailboxClaim:
    """The `mailbox` claim of a token: whose invoices, what may be done with them, and since which stamping day.

    With `archive` there is no window: `stamped_from` is None, and `retention_days` may be.
    """

    rfc: str
    actions: frozenset[str]
    role: frozenset[str]
    retention_days: int | None
    time_zone: str
    stamped_from: date | None
    archive: bool = False


class Decision(enum.Enum):
    """What to answer for one invoice."""

    VISIBLE = "visible"
    SAFEKEEPING = "safekeeping"
    """The claim's own, past the window: say that it is kept in safekeeping, show nothing of it."""
    HIDDEN = "hidden"
    """Answer as for an invoice that does not exist."""


@dataclass(frozen=True, slots=True)
class InvoiceFacts:
    """What is decided on: the receiver's RFC, the stamp, when this mailbox first saw it, and the issuer's RFC."""

    rfc: str | None
    stamp: datetime | str | None
    received_at: datetime | None
    issuer: str | None = None


# -- the claim -----------------------------------------------------------------------------------------------------


def read_claim(value: object) -> MailboxClaim:
    """The claim, from the value of the member `mailbox`. Raises `InvalidRetention` for whatever it does not know."""
    if not isinstance(value, Mapping) or not _MEMBERS.issuperset(value):
        raise InvalidRetention("no mailbox claim, or one with unknown members")
    archive = value.get("archive", False)
    if archive is not ("archive" in value) or archive is ("stamped_from" in value):
        raise InvalidRetention("exactly one of stamped_from and archive must stand")
    return MailboxClaim(
        rfc=_read_rfc(value.get("rfc")),
        actions=_read_names(value.get("actions"), ACTIONS),
        role=_read_names(value.get("role"), ROLES),
        retention_days=None if archive and "retention_days" not in value else _read_days(value.get("retention_days")),
        time_zone=_read_zone_name(value.get("time_zone")),
        stamped_from=None if archive else _read_date(value.get("stamped_from")),
        archive=archive,
    )


def write_claim(claim: MailboxClaim) -> dict[str, Any]:
    """The JSON of `claim`. Raises `InvalidRetention` where `read_claim` would refuse it."""
    value: dict[str, Any] = {
        "rfc": claim.rfc,
        "actions": _in_order(claim.actions, ACTIONS),
        "role": _in_order(claim.role, ROLES),
        "retention_days": claim.retention_days,
        "time_zone": claim.time_zone,
        "stamped_from": None if claim.stamped_from is None else claim.stamped_from.isoformat(),
        "archive": claim.archive,
    }
    if not claim.archive:
        del value["archive"]
    for name in ("retention_days", "stamped_from"):
        if value[name] is None:
            del value[name]
    if read_claim(value) != claim:
        raise InvalidRetention("a claim that would be read as another one")
    return value


def visible_from(claim: MailboxClaim, now: datetime) -> date:
    """The first stamping day that is visible at `now`.

    The later of the claim's own and of today less `retention_days`: a token that outlived its midnight shows no more
    than a fresh one would. For an archive claim, the first day of the calendar.
    """
    if claim.archive:
        return date.min
    if claim.stamped_from is None or claim.retention_days is None:
        raise InvalidRetention("a window without a beginning")
    return max(claim.stamped_from, first_visible_day(now, claim.retention_days, claim.time_zone))


# -- one invoice, a list, a query ----------------------------------------------------------------------------------


def decide(
    claim: MailboxClaim,
    rfc: str | None,
    stamp: datetime | str | None,
    now: datetime,
    received_at: datetime | None,
    *,
    issuer: str | None = None,
) -> Decision:
    """What to answer for the invoice that `rfc` received and `issuer`, where it is given, sent.

    `stamp` is `@FechaTimbrado`, as text or as naive central Mexico time; None where the file has not exactly one.
    `received_at` is when this mailbox first saw the invoice: a stamp later than that, or than `now`, is never served.
    """
    if not _is_own(claim, rfc, issuer) or received_at is None or stamp is None:
        return Decision.HIDDEN
    try:
        stamped_at = stamp_instant(stamp)
    except InvalidStamp:
        return Decision.HIDDEN
    if stamped_at > min(_aware(received_at), _aware(now)):
        return Decision.HIDDEN
    if local_date(stamped_at, claim.time_zone) < visible_from(claim, now):
        return Decision.SAFEKEEPING
    return Decision.VISIBLE


def is_visible(
    claim: MailboxClaim,
    rfc: str | None,
    stamp: datetime | str | None,
    now: datetime,
    received_at: datetime | None,
    *,
    issuer: str | None = None,
) -> bool:
    """Whether `decide` says so."""
    return decide(claim, rfc, stamp, now, received_at, issuer=issuer) is Decision.VISIBLE


Record = TypeVar("Record")


def visible(
    records: Iterable[Record], claim: MailboxClaim, now: datetime, *, facts: Callable[[Record], InvoiceFacts]
) -> list[Record]:
    """The records that are visible at `now`, in their order; `facts` says what to decide each of them on."""
    kept = []
    for record in records:
        known = facts(record)
        if is_visible(claim, known.rfc, known.stamp, now, known.received_at, issuer=known.issuer):
            kept.append(record)
    return kept


def visible_clause(
    claim: MailboxClaim,
    *,
    rfc_column: "ColumnElement[Any] | InstrumentedAttribute[Any]",
    stamped_column: "ColumnElement[Any] | InstrumentedAttribute[Any]",
    now: datetime,
    issuer_column: "ColumnElement[Any] | InstrumentedAttribute[Any] | None" = None,
) -> "ColumnElement[bool]":
    """The same rule as a SQLAlchemy condition, for `where`.

    `stamped_column` is a `DateTime` without time zone that holds what `stamp_to_store` gave when the invoice came:
    naive central Mexico time, and NULL for what is never served. Another type of column is refused, since it would
    compare without complaint and wrongly.
    """
    from sqlalchemy import DateTime, and_, false, or_

    kind = stamped_column.type
    if not isinstance(kind, DateTime) or kind.timezone:
        raise TypeError("the stamped column must be a DateTime without time zone")
    owners = []
    if "receiver" in claim.role:
        owners.append(rfc_column == claim.rfc)
    if "issuer" in claim.role and issuer_column is not None:
        owners.append(issuer_column == claim.rfc)
    if not owners:
        return false()
    conditions = [or_(*owners), stamped_column <= _stamp_clock(now)]
    first_day = visible_from(claim, now)
    if first_day != date.min:
        conditions.append(stamped_column >= _stamp_clock(day_begins_at(first_day, claim.time_zone)))
    return and_(*conditions)


# -- stamps and days -----------------------------------------------------------------------------------------------


def stamp_instant(stamp: datetime | str) -> datetime:
    """The instant, in UTC, of a `@FechaTimbrado`: its text, or a naive `datetime` in central Mexico time.

    Of an hour that came twice, the first; a time that the clocks skipped is counted as if they had not yet been
    moved. Raises `InvalidStamp`.
    """
    if isinstance(stamp, str):
        if not _STAMP.fullmatch(stamp):
            raise InvalidStamp("not a time as SAT writes it")
        try:
            stamp = datetime.fromisoformat(stamp)
        except ValueError as error:
            raise InvalidStamp("no day or time of the calendar") from error
    if not isinstance(stamp, datetime) or stamp.tzinfo is not None or stamp.year not in _YEARS:
        raise InvalidStamp("not a naive time of the years of CFDI")
    return stamp.replace(tzinfo=_zone(STAMP_TIME_ZONE), fold=0).astimezone(UTC)


def stamp_to_store(stamp: datetime | str | None, received_at: datetime) -> datetime | None:
    """What to keep in the column that `visible_clause` reads: naive central Mexico time, or None for what must never
    be served, which is a stamp that is missing, that cannot be read, or that is later than its receipt."""
    if stamp is None:
        return None
    try:
        stamped_at = stamp_instant(stamp)
    except InvalidStamp:
        return None
    if stamped_at > _aware(received_at):
        return None
    return datetime.fromisoformat(stamp) if isinstance(stamp, str) else stamp.replace(fold=0)


def first_visible_day(now: datetime, retention_days: int, time_zone: str) -> date:
    """The stamping day whose last visible day is today."""
    return local_date(now, time_zone) - timedelta(days=_read_days(retention_days))


def last_visible_day(stamp: datetime | str, retention_days: int, time_zone: str) -> date:
    """The last day on which an invoice stamped then is visible, in full."""
    return local_date(stamp_instant(stamp), time_zone) + timedelta(days=_read_days(retention_days))


def hidden_at(stamp: datetime | str, retention_days: int, time_zone: str) -> datetime:
    """The instant, in UTC, from which it is not visible: 00:00 of the day after the last."""
    return day_begins_at(last_visible_day(stamp, retention_days, time_zone) + timedelta(days=1), time_zone)


def local_date(instant: datetime, time_zone: str) -> date:
    """The day that `instant` falls on in `time_zone`."""
    return _aware(instant).astimezone(_zone(time_zone)).date()


def day_begins_at(day: date, time_zone: str) -> datetime:
    """The first instant of `day` in `time_zone`, in UTC."""
    return datetime.combine(day, time(), _zone(time_zone)).astimezone(UTC)


def day_ends_at(instant: datetime, time_zone: str) -> datetime:
    """The next midnight in `time_zone` after `instant`, in UTC: no token with a mailbox claim outlives it."""
    return day_begins_at(local_date(instant, time_zone) + timedelta(days=1), time_zone)


# -- inside --------------------------------------------------------------------------------------------------------


def _is_own(claim: MailboxClaim, rfc: str | None, issuer: str | None) -> bool:
    return ("receiver" in claim.role and rfc == claim.rfc) or ("issuer" in claim.role and issuer == claim.rfc)


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant must be aware")
    return instant


def _stamp_clock(instant: datetime) -> datetime:
    return _aware(instant).astimezone(_zone(STAMP_TIME_ZONE)).replace(tzinfo=None, fold=0)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


@cache
def _zone(name: str) -> ZoneInfo:
    # From the tzdata package and not from the system, whose rules may be from before Mexico ended daylight saving
    # (October 2022): issuer and mailbox must count the same days.
    if name not in _zone_names():
        raise InvalidRetention("not a time zone of the IANA database")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def _read_rfc(value: object) -> str:
    if not isinstance(value, str) or not _RFC.fullmatch(value):
        raise InvalidRetention("not an RFC")
    # Invoices to the general public and to foreigners carry these; they belong to nobody.
    if value in _GENERIC_RFCS:
        raise InvalidRetention("a generic RFC owns no mailbox")
    return value


def _read_names(value: object, known: Collection[str]) -> frozenset[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each in known for each in value):
        raise InvalidRetention("not a list of known names")
    names = frozenset(value)
    if len(names) != len(value):
        raise InvalidRetention("a name stands twice")
    return names


def _read_days(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= RETENTION_DAYS_MAX:
        raise InvalidRetention("not a number of days")
    return value


def _read_zone_name(value: object) -> str:
    if not isinstance(value, str) or value not in _zone_names():
        raise InvalidRetention("not a time zone of the IANA database")
    return value


def _read_date(value: object) -> date:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise InvalidRetention("not a date")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise InvalidRetention("not a date of the calendar") from error


def _in_order(names: Collection[str], known: tuple[str, ...]) -> list[str]:
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))
