"""Groups of tests that share a process: whether the scheduler is told of them."""

import pytest


@pytest.mark.xdist_group("told")
def test_the_scheduler_is_told_of_a_group(request: pytest.FixtureRequest) -> None:
    in_groups = bool(getattr(request.config.option, "loadgroup", False))
    assert request.node.nodeid.endswith("@told") is in_groups
