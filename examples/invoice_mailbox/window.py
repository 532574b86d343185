"""How long each invoice is still in the window, said for people."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from idp_kit import MailboxClaim, local_date, stamp_instant, visible_from

CLOSING_DAYS = 7
"""From how many days left on an invoice is shown as about to leave."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of one invoice's time."""

    days: int
    """0 on the last day."""
    of: int
    last_day: date

    @property
    def is_closing(self) -> bool:
        """Whether it is time to warn."""
        return self.days <= CLOSING_DAYS


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days, and how many invoices have their last one in them."""

    begins: date
    ends: date
    count: int


def remaining(claim: MailboxClaim, stamped: datetime, now: datetime) -> Remaining | None:
    """What is left at `now` of a visible invoice's time; None where there is no window, as in an archive."""
    if claim.archive or claim.retention_days is None:
        return None
    days = (_day(claim, stamped) - visible_from(claim, now)).days
    return Remaining(days, claim.retention_days, _today(claim, now) + timedelta(days=days))


def weeks(claim: MailboxClaim, stamps: Iterable[datetime], now: datetime) -> list[Week]:
    """The window's coming weeks, the first beginning today, with the invoices whose last day falls in each."""
    if claim.archive or claim.retention_days is None:
        return []
    first, today = visible_from(claim, now), _today(claim, now)
    counts = Counter((_day(claim, stamped) - first).days // 7 for stamped in stamps)
    return [
        Week(today + timedelta(weeks=number), today + timedelta(weeks=number, days=6), counts[number])
        for number in range(claim.retention_days // 7 + 1)
    ]


def _day(claim: MailboxClaim, stamped: datetime) -> date:
    return local_date(stamp_instant(stamped), claim.time_zone)


def _today(claim: MailboxClaim, now: datetime) -> date:
    return local_date(now, claim.time_zone)
