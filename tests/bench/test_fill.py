"""A filled store is one in which the server works as before, with much in it."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from bench.fill import Amounts, username
from bench.sides import ours
from bench.workloads import WORKLOADS, measure
from idp.accounts.usernames import parse_username

AMOUNTS = Amounts(accounts=8, clients=3, tokens=160)


def test_usernames_differ_and_are_what_an_account_may_be_called() -> None:
    names = {username(number) for number in range(100_000)}

    assert len(names) == 100_000
    for name in sorted(names)[::9973]:
        assert parse_username(name).canonical == name


@pytest.mark.enable_socket
def test_a_filled_store_has_what_was_asked_for_and_serves(tmp_path: Path) -> None:
    said: list[str] = []
    with ours(tmp_path / "own", amounts=AMOUNTS, workers=1, say=said.append) as side:
        engine = create_engine(f"sqlite:///{tmp_path}/own/idp.db")
        with engine.connect() as connection:
            spent, live, grants, clients = connection.execute(
                text(
                    "SELECT count(spent_at), count(*) - count(spent_at), count(DISTINCT grant_id), "
                    "count(DISTINCT client_id) FROM refresh_token "
                    "JOIN authorization_grant ON authorization_grant.id = grant_id WHERE client_id LIKE 'relleno-%'"
                )
            ).one()
        engine.dispose()
        refresh = next(workload for workload in WORKLOADS if workload.name == "W3")
        assert len(side.cookies) == AMOUNTS.accounts
        assert measure(side, refresh, 0.3, tmp_path).operations > 0

    assert (spent, live, grants) == (144, 16, 16)
    assert 1 < clients <= AMOUNTS.clients
    assert said[-1].startswith("  filled with 8 accounts, 3 clients, 160 tokens")
