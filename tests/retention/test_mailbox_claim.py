"""The `mailbox` claim as the provider writes it: window, midnight, narrowing."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idp_kit import InvalidRetention, is_visible, read_claim, stamp_instant, visible_from

from idp import policy
from idp.retention import MAILBOX_SCOPES, effective_days, mailbox_claim

RFC = "EKU9003173C9"
SECOND = timedelta(seconds=1)


@pytest.mark.spec("K-1")
def test_the_claim_is_the_contracts_to_the_letter(now: datetime) -> None:
    claim, not_after = mailbox_claim(RFC, {"openid", "mailbox:download", "mailbox:read"}, policy.RETENTION_DAYS, now)
    assert list(claim.items()) == [
        ("rfc", RFC),
        ("actions", ["read", "download"]),
        ("role", ["receiver"]),
        ("retention_days", 90),
        ("time_zone", "America/Mexico_City"),
        ("stamped_from", "2026-08-26"),
    ]
    assert not_after == datetime(2026, 11, 25, 6, tzinfo=UTC)


def test_each_scope_brings_its_own_action(now: datetime) -> None:
    assert mailbox_claim(RFC, ["mailbox:read"], 90, now)[0]["actions"] == ["read"]
    assert mailbox_claim(RFC, ["mailbox:download"], 90, now)[0]["actions"] == ["download"]
    assert {"mailbox:read", "mailbox:download"} == MAILBOX_SCOPES
    # What this version does not grant it does not write, whatever stands beside it.
    claim, _ = mailbox_claim(RFC, ["mailbox:read", "mailbox:issued", "mailbox:archive"], 90, now)
    assert (claim["actions"], claim["role"], "archive" in claim) == (["read"], ["receiver"], False)
    for scopes in ((), ("openid",), ("mailbox:archive",), ("mailbox",)):
        with pytest.raises(ValueError, match="mailbox scope"):
            mailbox_claim(RFC, scopes, 90, now)


@pytest.mark.parametrize(("rfc", "days"), [("XAXX010101000", 90), ("adm.demo", 90), ("", 90), (RFC, 0), (RFC, -1)])
def test_a_claim_that_no_resource_server_would_obey_is_not_written(rfc: str, days: int, now: datetime) -> None:
    with pytest.raises(InvalidRetention):
        mailbox_claim(rfc, ["mailbox:read"], days, now)


@pytest.mark.spec("K-1")
@pytest.mark.parametrize(
    ("deployment", "organization", "client", "expected"),
    [
        (90, None, None, 90),
        (90, 365, None, 365),
        (90, 30, None, 30),
        (90, None, 7, 7),
        (90, None, 120, 90),
        (90, 365, 120, 120),
        (90, 30, 60, 30),
        (90, 30, 7, 7),
    ],
)
def test_a_contract_sets_the_window_and_a_client_only_narrows_it(
    deployment: int, organization: int | None, client: int | None, expected: int
) -> None:
    assert effective_days(deployment, organization, client) == expected


@settings(max_examples=200, deadline=None)
@given(
    now=st.datetimes(datetime(2012, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - its rule
    days=st.integers(1, 3660),
)
def test_the_two_comparisons_stay_exact_as_long_as_the_token_lives(now: datetime, days: int) -> None:
    """What the README promises to other languages: until `not_after`, `stamped_from` alone says it all."""
    claim, not_after = mailbox_claim(RFC, ["mailbox:read"], days, now)
    assert timedelta() < not_after - now <= timedelta(hours=25)
    read = read_claim(claim)
    first = date.fromisoformat(claim["stamped_from"])
    assert visible_from(read, now) == visible_from(read, not_after - SECOND) == first
    if first.year >= 2010:
        for stamp, shown in ((f"{first}T00:00:00", True), (f"{first - timedelta(days=1)}T23:59:59", False)):
            if first - timedelta(days=1) >= date(2010, 1, 1):
                assert is_visible(read, RFC, stamp, not_after - SECOND, stamp_instant(stamp)) is shown


def test_a_token_may_have_one_second_to_live() -> None:
    late = datetime(2026, 11, 25, 5, 59, 59, tzinfo=UTC)
    claim, not_after = mailbox_claim(RFC, ["mailbox:read"], 90, late)
    assert (claim["stamped_from"], not_after - late) == ("2026-08-26", SECOND)
    claim, not_after = mailbox_claim(RFC, ["mailbox:read"], 90, late + SECOND)
    assert (claim["stamped_from"], not_after) == ("2026-08-27", datetime(2026, 11, 26, 6, tzinfo=UTC))
