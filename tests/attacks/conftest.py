"""One provider for all attacks: each comes from addresses and accounts of its own."""

from collections.abc import Iterator

import pytest

from tests.rig import Rig, rig_in


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_in(tmp_path_factory.mktemp("attacked"), IDP_LOG_FORMAT="json") as rig:
        yield rig
