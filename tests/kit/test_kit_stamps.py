"""When an invoice is visible, to the second: the published vectors and what follows from the rule."""

# ruff: noqa: DTZ001, DTZ901 - a stamp is a naive time by definition.

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idp_kit import (
    Decision,
    InvalidStamp,
    InvoiceFacts,
    MailboxClaim,
    day_begins_at,
    day_ends_at,
    decide,
    hidden_at,
    is_visible,
    last_visible_day,
    local_date,
    stamp_instant,
    stamp_to_store,
    visible,
)

ZONE = "America/Mexico_City"
RFC = "EKU9003173C9"
SECOND = timedelta(seconds=1)

REPOSITORY = Path(__file__).parents[2]
OURS = REPOSITORY / "kit/vectors/retention.tsv"
SHARED = REPOSITORY.parent / "shared/cfdi/retention-vectors.tsv"


def read_vectors() -> list[dict[str, str]]:
    rows = []
    for path in (OURS, SHARED):
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows += list(csv.DictReader(file, delimiter="\t"))
    return rows


VECTORS = read_vectors()


def claim(**changed: object) -> MailboxClaim:
    members: dict[str, object] = {
        "rfc": RFC,
        "actions": frozenset({"read"}),
        "role": frozenset({"receiver"}),
        "retention_days": 90,
        "time_zone": ZONE,
        "stamped_from": date(2010, 1, 1),
    }
    return MailboxClaim(**members | changed)  # type: ignore[arg-type] - a test's shorthand


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_the_published_vectors_are_there() -> None:
    assert len(VECTORS) >= 10


@pytest.mark.spec("K-1")
@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["fecha_timbrado"])
def test_every_vector_to_the_second(row: dict[str, str]) -> None:
    stamp = row["fecha_timbrado"]
    assert stamp_instant(stamp) == utc(row["stamped_utc"])
    assert last_visible_day(stamp, 90, ZONE) == date.fromisoformat(row["last_visible_day"])
    assert hidden_at(stamp, 90, ZONE) == utc(row["hidden_at_utc"])
    received = stamp_instant(stamp)
    assert decide(claim(), RFC, stamp, utc(row["visible_at_utc"]), received) is Decision.VISIBLE
    assert decide(claim(), RFC, stamp, utc(row["hidden_at_utc"]), received) is Decision.SAFEKEEPING
    assert decide(claim(), RFC, stamp, stamp_instant(stamp), received) is Decision.VISIBLE


@pytest.mark.spec("K-7")
def test_another_rfc_sees_nothing_and_no_notice(now: datetime) -> None:
    for stamp in ("2026-11-20T10:00:00", "2026-01-15T10:00:00"):
        for other in ("XIA190128J61", "eku9003173c9", " EKU9003173C9", "", None):
            assert decide(claim(), other, stamp, now, now) is Decision.HIDDEN


def test_the_role_says_which_side_counts(now: datetime) -> None:
    stamp, other = "2026-11-20T10:00:00", "XIA190128J61"
    issued = claim(role=frozenset({"issuer"}))
    assert is_visible(issued, other, stamp, now, now, issuer=RFC)
    assert not is_visible(issued, RFC, stamp, now, now, issuer=other)
    assert not is_visible(issued, RFC, stamp, now, now)
    assert not is_visible(claim(), other, stamp, now, now, issuer=RFC)
    both = claim(role=frozenset({"receiver", "issuer"}))
    assert is_visible(both, RFC, stamp, now, now, issuer=other)
    assert is_visible(both, other, stamp, now, now, issuer=RFC)


@pytest.mark.spec("K-2")
def test_a_stamp_later_than_its_receipt_is_never_served(now: datetime) -> None:
    stamp = "2026-11-20T10:00:00"
    received = stamp_instant(stamp)
    assert decide(claim(), RFC, stamp, now, received) is Decision.VISIBLE
    assert decide(claim(), RFC, stamp, now, received - SECOND) is Decision.HIDDEN
    assert decide(claim(), RFC, stamp, now + timedelta(days=200), received - SECOND) is Decision.HIDDEN
    assert decide(claim(), RFC, stamp, now, None) is Decision.HIDDEN
    assert decide(claim(), RFC, "2026-11-24T12:00:01", now, now + timedelta(days=1)) is Decision.HIDDEN
    assert decide(claim(), RFC, "2026-11-24T12:00:00", now, now) is Decision.VISIBLE


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "2026-11-20",
        "2026-11-20T10:00",
        "2026-11-20 10:00:00",
        "2026-11-20T10:00:00Z",
        "2026-11-20T10:00:00-06:00",
        "2026-11-20T10:00:00.5",
        "2026-11-20T24:00:00",
        "2026-02-29T10:00:00",
        "3015-02-18T11:49:20",
        "1999-02-18T11:49:20",
        "2026-11-20T10:00:00\n",
        "٢٠٢٦-11-20T10:00:00",
        datetime(2026, 11, 20, 16, tzinfo=UTC),
        datetime(1, 1, 1),
        datetime.max,
        date(2026, 11, 20),
        1795197600,
    ],
    ids=repr,
)
def test_what_is_no_stamp_is_not_served(stamp: str | datetime, now: datetime) -> None:
    with pytest.raises(InvalidStamp):
        stamp_instant(stamp)
    assert decide(claim(), RFC, stamp, now, now) is Decision.HIDDEN
    assert stamp_to_store(stamp, now) is None


def test_text_and_naive_time_are_the_same_stamp(now: datetime) -> None:
    naive = datetime(2026, 11, 20, 10)
    assert stamp_instant(naive) == stamp_instant("2026-11-20T10:00:00") == datetime(2026, 11, 20, 16, tzinfo=UTC)
    assert stamp_to_store("2026-11-20T10:00:00", now) == stamp_to_store(naive, now) == naive
    assert stamp_to_store("2026-11-24T12:00:01", now) is None
    assert stamp_to_store(None, now) is None


def test_hours_that_came_twice_or_never() -> None:
    # Central Mexico fell back at 02:00 on 2021-10-31, and sprang forward at 02:00 on 2022-04-03.
    assert stamp_instant("2021-10-31T01:30:00") == datetime(2021, 10, 31, 6, 30, tzinfo=UTC)
    assert stamp_instant(datetime(2021, 10, 31, 1, 30, fold=1)) == datetime(2021, 10, 31, 6, 30, tzinfo=UTC)
    assert stamp_instant("2022-04-03T02:30:00") == datetime(2022, 4, 3, 8, 30, tzinfo=UTC)
    assert last_visible_day("2022-04-03T02:30:00", 90, ZONE) == date(2022, 7, 2)


def test_the_claims_zone_bounds_the_days(now: datetime) -> None:
    # 00:30 in central Mexico is 22:30 of the day before in Tijuana (UTC-8 in winter).
    stamp = "2026-01-15T00:30:00"
    assert last_visible_day(stamp, 90, "America/Tijuana") == date(2026, 4, 14)
    assert hidden_at(stamp, 90, "America/Tijuana") == datetime(2026, 4, 15, 7, tzinfo=UTC)
    there = claim(time_zone="America/Tijuana")
    end = datetime(2026, 4, 15, 7, tzinfo=UTC)
    assert is_visible(there, RFC, stamp, end - SECOND, stamp_instant(stamp))
    assert not is_visible(there, RFC, stamp, end, stamp_instant(stamp))
    assert is_visible(claim(), RFC, stamp, end, stamp_instant(stamp))


@pytest.mark.spec("K-3")
def test_the_later_of_the_tokens_day_and_todays_cuts(now: datetime) -> None:
    stamp = "2026-08-26T09:15:00"
    old = claim(stamped_from=date(2026, 8, 26))
    midnight = datetime(2026, 11, 25, 6, tzinfo=UTC)
    assert is_visible(old, RFC, stamp, midnight - SECOND, now)
    assert decide(old, RFC, stamp, midnight, now) is Decision.SAFEKEEPING
    narrow = claim(stamped_from=date(2026, 8, 27))
    assert decide(narrow, RFC, stamp, now, now) is Decision.SAFEKEEPING
    archive = claim(stamped_from=None, retention_days=None, archive=True)
    assert is_visible(archive, RFC, "2011-03-06T20:40:10", now, now)
    assert not is_visible(archive, RFC, "2026-11-24T12:00:01", now, now + timedelta(days=9))


@pytest.mark.spec("K-6")
def test_a_list_keeps_what_is_visible_in_its_order(now: datetime) -> None:
    rows = [
        ("a", RFC, "2026-11-20T10:00:00", now),
        ("past the window", RFC, "2026-08-25T23:59:59", now),
        ("another's", "XIA190128J61", "2026-11-20T10:00:00", now),
        ("no stamp", RFC, None, now),
        ("the first second of the window", RFC, "2026-08-26T00:00:00", now),
    ]
    shown = visible(rows, claim(), now, facts=lambda row: InvoiceFacts(row[1], row[2], row[3]))
    assert [row[0] for row in shown] == ["a", "the first second of the window"]


def test_a_clock_without_a_zone_is_refused(now: datetime) -> None:
    naive = now.replace(tzinfo=None)
    for arguments in ((naive, now), (now, naive)):
        with pytest.raises(ValueError, match="aware"):
            decide(claim(), RFC, "2026-11-20T10:00:00", *arguments)


STAMPS = st.datetimes(datetime(2010, 1, 1), datetime(2099, 12, 31)).map(lambda each: each.replace(microsecond=0))
# Zones of both hemispheres, with half hours, with midnights that never came (Asuncion, Cairo) or came twice (Havana).
ZONES = st.sampled_from(
    [ZONE, "America/Tijuana", "America/Cancun", "UTC", "Asia/Kathmandu", "Pacific/Kiritimati", "America/Asuncion",
     "Africa/Cairo", "America/Havana", "Australia/Lord_Howe"]
)  # fmt: skip
DAYS = st.integers(1, 3660)


@settings(max_examples=300, deadline=None)
@given(stamp=STAMPS, zone=ZONES, days=DAYS, offset=st.integers(-200_000, 200_000))
def test_visible_until_hidden_at_and_not_a_second_longer(stamp: datetime, zone: str, days: int, offset: int) -> None:
    end = hidden_at(stamp, days, zone)
    there = claim(time_zone=zone, retention_days=days)
    received = stamp_instant(stamp)
    for now in (end - SECOND, end, end + timedelta(seconds=offset)):
        expected = Decision.HIDDEN if now < received else Decision.VISIBLE if now < end else Decision.SAFEKEEPING
        assert decide(there, RFC, stamp, now, received) is expected


@settings(max_examples=300, deadline=None)
@given(stamp=STAMPS, days=DAYS)
def test_in_mexico_the_stamp_needs_no_conversion(stamp: datetime, days: int) -> None:
    """The rule for any other language: the date as it is written, plus the days."""
    assert last_visible_day(stamp, days, ZONE) == stamp.date() + timedelta(days=days)


@settings(max_examples=300, deadline=None)
@given(instant=st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 31)), zone=ZONES)
def test_days_meet_without_a_gap(instant: datetime, zone: str) -> None:
    instant = instant.replace(tzinfo=UTC)
    day, end = local_date(instant, zone), day_ends_at(instant, zone)
    assert day_begins_at(day, zone) <= instant < end
    assert local_date(end, zone) > day
    assert local_date(end - SECOND, zone) <= day
