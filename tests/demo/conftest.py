"""A row of ports for one demo."""

import random

import pytest

from demo.places import DemoProblem, Places, check_ports


@pytest.fixture
def free_port() -> int:
    """A port from which the demo's whole row is free; below those that the system gives to clients."""
    dice = random.SystemRandom()
    for _ in range(100):
        port = dice.randrange(10_000, 32_000)
        try:
            check_ports(Places.from_environment({"DEMO_PORT": str(port)}))
        except DemoProblem:
            continue
        return port
    raise AssertionError("no free row of ports")
