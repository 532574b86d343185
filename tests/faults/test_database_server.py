"""PostgreSQL crashes, hangs, is migrated, keys rotate, nodes are replaced: all under load."""

import time
from collections import Counter
from datetime import UTC, datetime

import pytest
import requests

from idp import policy
from tests.clusters import WAIT
from tests.faults.conftest import Grounds
from tests.nodes.load import under_load

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("faults"), pytest.mark.timeout(300)]


@pytest.mark.spec("F-7", "S-1", "O-5")
@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_crash_of_the_database_loses_nothing_acknowledged(grounds: Grounds, times: int) -> None:
    with under_load(grounds.rig) as load:
        for _ in range(times):
            # Nobody is refused while nothing is wrong.
            assert load.wait_for_calm(within=10) == 0
            grounds.database.restart("immediate")
            assert load.wait_for_calm(within=10) < 10
    assert load.told.statuses[503] > 0, "nobody noticed"


@pytest.mark.spec("F-8", "O-3")
@pytest.mark.parametrize("seconds", [1.5, pytest.param(30.0, marks=pytest.mark.slow)])
def test_a_database_that_hangs_holds_no_request_longer_than_its_deadline(grounds: Grounds, seconds: float) -> None:
    limit = policy.STORE_DEADLINE + 2 * policy.STORE_CONNECT_TIMEOUT
    frozen = grounds.database.freeze()
    try:
        began = time.monotonic()
        status = ready(grounds)
        waited = time.monotonic() - began
        time.sleep(max(0.0, seconds - waited))
    finally:
        grounds.database.thaw(frozen)
    assert status == 503
    assert waited < limit.total_seconds() + 5
    until = time.monotonic() + 10
    while ready(grounds) != 200:
        assert time.monotonic() < until, "it does not come back"
    # No thread of a worker is stuck.
    with under_load(grounds.rig, allowed=frozenset()) as load:
        load.wait_for_success(since=time.monotonic(), within=WAIT)


@pytest.mark.spec("F-11", "T-11")
@pytest.mark.parametrize("times", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_keys_that_rotate_under_load_fail_nobody(grounds: Grounds, times: int) -> None:
    rig = grounds.rig
    ring = rig.provider.doors.keys
    before = rig.tokens(rig.person(), rig.add())
    with under_load(rig, allowed=frozenset()) as load:
        for _ in range(times):
            load.wait_for_success(since=time.monotonic(), within=WAIT)
            published = {key["kid"] for key in requests.get(f"{rig.issuer}/oauth/jwks", timeout=10).json()["keys"]}
            made = ring.rotate(datetime.now(UTC))
            # A verifier that looked a moment ago needs no other key: the next one signs only after a cache lifetime.
            assert not published & set(made)
            assert ring.rotate(datetime.now(UTC)) == []
            ring.rotate(datetime.now(UTC), at_once=True)
    assert load.told.in_doubt == 0
    # What was signed before all of them verifies still.
    assert rig.is_active(before["access_token"])


@pytest.mark.spec("F-12")
def test_the_schema_grows_and_nodes_are_replaced_under_load(grounds: Grounds) -> None:
    nodes = grounds.nodes
    before = Counter(nodes.proxy.answered)
    with under_load(grounds.rig) as load:
        load.wait_for_success(since=time.monotonic(), within=WAIT)
        for table in ("account", "authorization_grant", "refresh_token", "ephemeral", "audit_event", "client"):
            # What a migration may do while the version before it serves: add what it does not know of.
            grounds.database.execute(f'ALTER TABLE "{table}" ADD COLUMN added_later INTEGER')
        grounds.database.execute("CREATE INDEX CONCURRENTLY added_later ON audit_event (added_later)")
        for name in ("a", "b"):
            load.wait_for_success(since=time.monotonic(), within=WAIT)
            nodes.replace_node(name)
        replaced = Counter(nodes.proxy.answered)
        load.wait_for_success(since=time.monotonic(), within=WAIT)
        for table in ("account", "authorization_grant", "refresh_token", "ephemeral", "audit_event", "client"):
            grounds.database.execute(f'ALTER TABLE "{table}" DROP COLUMN added_later')
        load.wait_for_success(since=time.monotonic(), within=WAIT)
    since = nodes.proxy.answered - replaced
    assert {name for name, status in since if status == 200} == {"a", "b"}
    assert not [status for _, status in nodes.proxy.answered - before if status in {500, 502}]


def ready(grounds: Grounds) -> int:
    """What readiness says, of one node."""
    with grounds.nodes.proxy.through("a"):
        return requests.get(f"{grounds.rig.issuer}/health/ready", timeout=60).status_code
