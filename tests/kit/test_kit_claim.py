"""The `mailbox` claim: written as the contract has it, read strictly."""

import json
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idp_kit import InvalidRetention, MailboxClaim, read_claim, visible_from, write_claim

CONTRACT = """{
  "rfc": "EKU9003173C9",
  "actions": ["read", "download"],
  "role": ["receiver"],
  "retention_days": 90,
  "time_zone": "America/Mexico_City",
  "stamped_from": "2026-08-26"
}"""


def contract(**changed: Any) -> dict[str, Any]:
    """The contract's example; a value of None takes a member away."""
    claim = json.loads(CONTRACT) | changed
    return {name: value for name, value in claim.items() if value is not None}


def test_the_contracts_example_is_read_and_written_to_the_letter() -> None:
    claim = read_claim(json.loads(CONTRACT))
    assert claim == MailboxClaim(
        rfc="EKU9003173C9",
        actions=frozenset({"read", "download"}),
        role=frozenset({"receiver"}),
        retention_days=90,
        time_zone="America/Mexico_City",
        stamped_from=date(2026, 8, 26),
        archive=False,
    )
    assert json.dumps(write_claim(claim), indent=2) == json.dumps(json.loads(CONTRACT), indent=2)


def test_an_archive_claim_has_no_window_and_may_tell_the_days() -> None:
    for days in (None, 90):
        claim = read_claim(contract(stamped_from=None, archive=True, retention_days=days))
        assert claim.archive
        assert claim.stamped_from is None
        assert claim.retention_days == days
        assert read_claim(write_claim(claim)) == claim


@pytest.mark.parametrize(
    "changed",
    [
        {"unknown": 1},
        {"rfc": None},
        {"rfc": 1},
        {"rfc": "eku9003173c9"},
        {"rfc": "EKU9003173C9 "},
        {"rfc": "EKU9003173C9\n"},
        {"rfc": "CT.EKU9003173C9"},
        {"rfc": "XAXX010101000"},
        {"rfc": "XEXX010101000"},
        {"rfc": ["EKU9003173C9"]},
        {"actions": None},
        {"actions": []},
        {"actions": "read"},
        {"actions": ["read", "read"]},
        {"actions": ["read", "delete"]},
        {"actions": ["read", 1]},
        {"actions": [["read"]]},
        {"actions": {"read": True}},
        {"role": None},
        {"role": []},
        {"role": ["owner"]},
        {"role": "receiver"},
        {"retention_days": None},
        {"retention_days": 0},
        {"retention_days": -1},
        {"retention_days": True},
        {"retention_days": 90.0},
        {"retention_days": "90"},
        {"retention_days": 10**9},
        {"time_zone": None},
        {"time_zone": ""},
        {"time_zone": "CDMX"},
        {"time_zone": "america/mexico_city"},
        {"time_zone": "../../etc/passwd"},
        {"time_zone": "/etc/localtime"},
        {"time_zone": "localtime"},
        {"time_zone": "America"},
        {"time_zone": "zones"},
        {"time_zone": -6},
        {"stamped_from": None},
        {"stamped_from": "2026-8-26"},
        {"stamped_from": "20260826"},
        {"stamped_from": "2026-W35-3"},
        {"stamped_from": "2026-02-29"},
        {"stamped_from": "2026-08-26T00:00:00"},
        {"stamped_from": "٢٠٢٦-08-26"},
        {"stamped_from": 1787702400},
        {"archive": True},
        {"archive": False},
        {"archive": 1, "stamped_from": None},
        {"archive": "true", "stamped_from": None},
        {"archive": False, "stamped_from": None},
    ],
    ids=json.dumps,
)
@pytest.mark.spec("K-4")
def test_whatever_it_does_not_know_is_refused(changed: dict[str, Any]) -> None:
    assert read_claim(contract())
    with pytest.raises(InvalidRetention):
        read_claim(contract(**changed))


@pytest.mark.spec("K-4")
@pytest.mark.parametrize("value", [None, "", [], {}, "read", 1, True, [json.loads(CONTRACT)]], ids=repr)
def test_what_is_no_claim_is_refused(value: object) -> None:
    with pytest.raises(InvalidRetention):
        read_claim(value)


@pytest.mark.parametrize(
    "changed",
    [
        {"rfc": "XAXX010101000"},
        {"actions": frozenset({"delete"})},
        {"role": frozenset()},
        {"retention_days": None},
        {"retention_days": 0},
        {"stamped_from": None},
        {"archive": True},
        {"time_zone": "CDMX"},
    ],
    ids=repr,
)
def test_nothing_is_written_that_would_not_be_read(changed: dict[str, Any]) -> None:
    members = {
        "rfc": "EKU9003173C9",
        "actions": frozenset({"read"}),
        "role": frozenset({"receiver"}),
        "retention_days": 90,
        "time_zone": "America/Mexico_City",
        "stamped_from": date(2026, 8, 26),
    }
    assert write_claim(MailboxClaim(**members))
    with pytest.raises(InvalidRetention):
        write_claim(MailboxClaim(**members | changed))


def test_the_first_visible_day_is_the_later_of_two(now: datetime) -> None:
    assert visible_from(read_claim(contract()), now) == date(2026, 8, 26)
    assert visible_from(read_claim(contract(stamped_from="2026-08-01")), now) == date(2026, 8, 26)
    assert visible_from(read_claim(contract(stamped_from="2026-09-01")), now) == date(2026, 9, 1)
    assert visible_from(read_claim(contract(stamped_from=None, archive=True)), now) == date.min
    broken = MailboxClaim("EKU9003173C9", frozenset({"read"}), frozenset({"receiver"}), 90, "UTC", None)
    with pytest.raises(InvalidRetention):
        visible_from(broken, now)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
LIKELY = st.sampled_from(
    ["EKU9003173C9", "Ñ&A010101AAA", "read", "receiver", "UTC", "2026-08-26", 1, 90, True, ["read"], ["issuer"]]
)


@settings(max_examples=400, deadline=None)
@given(
    value=st.fixed_dictionaries(
        {},
        optional={
            name: st.just(good) | LIKELY | JSON for name, good in (json.loads(CONTRACT) | {"archive": True}).items()
        },
    )
    | JSON
)
def test_any_json_is_read_exactly_or_refused(value: Any) -> None:
    """Never another exception, and never a claim that says more than the JSON did."""
    try:
        claim = read_claim(value)
    except InvalidRetention:
        return
    written = write_claim(claim)
    assert {**written, "actions": set(written["actions"]), "role": set(written["role"])} == {
        **value,
        "actions": set(value["actions"]),
        "role": set(value["role"]),
    }
