"""Two nodes over PostgreSQL and Redis, for what goes wrong below them."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.clusters import Cluster, RedisServer, cluster, redis_server
from tests.nodes.house import ManyNodes, house_in, nodes_of
from tests.rig import Rig


@dataclass
class Grounds:
    """The house, and what it stands on."""

    rig: Rig
    database: Cluster
    redis: RedisServer

    @property
    def nodes(self) -> ManyNodes:
        return nodes_of(self.rig)


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with ExitStack() as stack:
        database, redis = stack.enter_context(cluster()), stack.enter_context(redis_server())
        folder = tmp_path_factory.mktemp("faults")
        rig = stack.enter_context(
            house_in(folder, database=database.url, redis=redis.url, options=("--drain-wait", "1"))
        )
        yield Grounds(rig, database, redis)
