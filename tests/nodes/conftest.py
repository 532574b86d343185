"""One house of two nodes for all tests here: each comes from addresses and accounts of its own."""

from collections.abc import Iterator

import pytest

from tests.clusters import cluster, redis_server
from tests.nodes.house import ManyNodes, house_in, nodes_of
from tests.rig import Rig


@pytest.fixture(scope="session", params=["postgresql and redis", pytest.param("postgresql", marks=pytest.mark.slow)])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("nodes")
    with cluster() as database:
        if request.param == "postgresql":
            with house_in(folder, database=database.url) as rig:
                yield rig
        else:
            with redis_server() as redis, house_in(folder, database=database.url, redis=redis.url) as rig:
                yield rig


@pytest.fixture
def nodes(rig: Rig) -> Iterator[ManyNodes]:
    """The nodes; both run again after the test."""
    found = nodes_of(rig)
    yield found
    found.proxy.only = None
    for name in ("a", "b"):
        if name not in found.nodes:
            found.start_node(name)
