"""Nodes whose clocks differ, and a clock that jumps back: nothing lives longer than it may, and nothing breaks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.clock import MovableClock
from tests.clusters import cluster
from tests.journeys import parameters
from tests.nodes.house import ManyNodes, house_in, nodes_of
from tests.rig import Rig
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clocks"), pytest.mark.timeout(240)]


@dataclass
class Clocks:
    """A house of two nodes, each of which lives by a clock of its own."""

    rig: Rig
    a: MovableClock
    b: MovableClock

    @property
    def nodes(self) -> ManyNodes:
        return nodes_of(self.rig)

    def set(self, *, a: timedelta, b: timedelta) -> None:
        self.a.move(a)
        self.b.move(b)

    def code_from(self, node: str) -> dict[str, str]:
        """A code that this node has issued, as the form that redeems it."""
        with self.nodes.proxy.through(node):
            account, asked = self.rig.add(), self.rig.request()
            found = parameters(self.rig.person().authorize(asked.url, account.username, account.password))
        return {
            "grant_type": "authorization_code",
            "code": found["code"],
            "redirect_uri": self.rig.own.redirect_uri,
            "code_verifier": asked.verifier,
        }

    def redeem(self, node: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        with self.nodes.proxy.through(node):
            return self.rig.call("/oauth/token", self.rig.own, **form)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clocks]:
    folder = tmp_path_factory.mktemp("clocks")
    clocks = {name: MovableClock(folder / name) for name in ("a", "b")}
    extra = {name: clock.environment() for name, clock in clocks.items()}
    with cluster() as database, house_in(folder / "house", database=database.url, options=(), extra=extra) as rig:
        yield Clocks(rig, **clocks)


@pytest.fixture
def clocks(house: Clocks) -> Iterator[Clocks]:
    """Both clocks are right before each test, and no node has failed after it."""
    house.set(a=timedelta(0), b=timedelta(0))
    before = house.nodes.proxy.answered.copy()
    yield house
    assert not [status for _, status in house.nodes.proxy.answered - before if status >= 500]


@pytest.mark.spec("F-10", "T-3")
@pytest.mark.parametrize("ahead", ["a", "b"])
def test_within_the_slack_nobody_notices(clocks: Clocks, ahead: str) -> None:
    skew = timedelta(seconds=20)
    clocks.set(a=skew if ahead == "a" else timedelta(0), b=skew if ahead == "b" else timedelta(0))
    status, tokens = clocks.redeem("b", clocks.code_from("a"))
    assert status == 200, tokens
    for node in ("a", "b"):
        with clocks.nodes.proxy.through(node):
            assert clocks.rig.is_active(tokens["access_token"])


@pytest.mark.spec("F-10", "P-7")
def test_a_code_lives_no_longer_than_its_minute_by_any_clock(clocks: Clocks) -> None:
    clocks.set(a=timedelta(seconds=-120), b=timedelta(seconds=120))
    assert clocks.redeem("a", clocks.code_from("a"))[0] == 200
    status, answer = clocks.redeem("b", clocks.code_from("a"))
    assert (status, answer["error"]) == (400, "invalid_grant")
    # The other way round it lives as long as the clocks differ, and is spent once all the same.
    form = clocks.code_from("b")
    assert clocks.redeem("a", form)[0] == 200
    assert clocks.redeem("b", form)[0] == 400


@pytest.mark.spec("F-10", "T-3")
def test_a_token_of_the_future_is_refused_beyond_the_slack_and_breaks_nothing(clocks: Clocks) -> None:
    clocks.set(a=timedelta(seconds=-120), b=timedelta(seconds=120))
    status, tokens = clocks.redeem("b", clocks.code_from("b"))
    assert status == 200
    with clocks.nodes.proxy.through("b"):
        assert clocks.rig.is_active(tokens["access_token"])
    with clocks.nodes.proxy.through("a"):
        assert not clocks.rig.is_active(tokens["access_token"])


@pytest.mark.spec("F-10", "L-1", "L-8")
def test_a_lock_holds_at_a_node_whose_clock_jumps_back(clocks: Clocks) -> None:
    rig, account = clocks.rig, clocks.rig.add()
    stranger, page = rig.person(), None
    with clocks.nodes.proxy.through("b"):
        for _ in range(3):
            page = stranger.try_password(account.username, make_password(), page)
    for back in (timedelta(seconds=-120), timedelta(hours=-1)):
        clocks.a.move(back)
        with clocks.nodes.proxy.through("a"):
            assert rig.person().try_password(account.username, account.password).screen == "locked"


@pytest.mark.spec("F-10", "P-7")
def test_a_clock_that_jumps_back_an_hour_brings_nothing_spent_back(clocks: Clocks) -> None:
    form = clocks.code_from("a")
    assert clocks.redeem("a", form)[0] == 200
    clocks.a.move(timedelta(hours=-1))
    assert clocks.redeem("a", form)[1]["error"] == "invalid_grant"
    # A sign-in at that clock works, and so does what comes of it.
    assert clocks.redeem("a", clocks.code_from("a"))[0] == 200
