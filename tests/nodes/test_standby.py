"""The primary is killed under load and its standby promoted: the nodes find it by themselves."""

import time
from collections.abc import Iterator

import pytest

from tests.clusters import Pair, pair
from tests.nodes.house import house_in, nodes_of
from tests.nodes.load import under_load
from tests.rig import Rig

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("standby"), pytest.mark.timeout(240)]


@pytest.fixture
def servers() -> Iterator[Pair]:
    with pair() as found:
        yield found


@pytest.fixture
def rig(servers: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with house_in(tmp_path_factory.mktemp("standby"), database=servers.url, options=()) as rig:
        yield rig


@pytest.mark.spec("F-7", "S-1", "O-5")
@pytest.mark.parametrize("seconds", [1.0, pytest.param(15.0, marks=pytest.mark.slow)])
def test_a_promoted_standby_has_all_that_was_acknowledged(servers: Pair, rig: Rig, seconds: float) -> None:
    with under_load(rig) as load:
        time.sleep(seconds)
        load.wait_for_success(since=0, within=30)
        servers.primary.kill()
        killed = time.monotonic()
        time.sleep(seconds / 2)
        servers.promote()
        promoted = time.monotonic()
        found = load.wait_for_success(since=promoted, within=30)
        time.sleep(seconds)
    told = load.told
    assert told.statuses[503] > 0, "nobody noticed: the primary was not needed"
    assert found < 15
    assert promoted - killed < 60
    # The nodes themselves were never away.
    assert not {status for _, status in nodes_of(rig).proxy.answered} & {500, 502, 504}
