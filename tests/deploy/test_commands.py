"""What `deploy/` starts is what the command line takes, and what it asks for is what a node answers."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from idp import policy
from idp.cli.main import cli

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
IN_KUBERNETES = [
    each
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if each and each.get("kind") in {"Deployment", "Job"}
]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of ours in the examples, with where it stands."""
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("CMD "):
            yield "Dockerfile", json.loads(line.removeprefix("CMD "))
    for name, service in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].items():
        if service.get("image") == "llavero:local":
            yield f"compose {name}", service["command"]
    for each in IN_KUBERNETES:
        (container,) = each["spec"]["template"]["spec"]["containers"]
        yield f"kubernetes {each['metadata']['name']}", container["args"]
    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        for line in re.findall(r"^ExecStart=(.+)$", path.read_text(), re.MULTILINE):
            program, *arguments = shlex.split(line)
            assert program.endswith("/idp"), path
            yield path.name, arguments


def read(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and its options, as the command line understands them."""
    name, *rest = arguments
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    with command.make_context(name, rest, parent=click.Context(cli)) as context:
        return name, context.params


COMMANDS = [pytest.param(arguments, id=where) for where, arguments in commands()]


def test_every_way_to_run_it_is_looked_at() -> None:
    assert [where.split()[0] for where, _ in commands()].count("kubernetes") == 3
    assert {"Dockerfile", "compose node-a", "compose worker", "llavero.service", "llavero-worker.service"} <= {
        where for where, _ in commands()
    }


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.spec("F-12")
def test_the_command_line_takes_what_is_started(arguments: list[str]) -> None:
    name, options = read(arguments)
    if name == "serve":
        assert options["drain_wait"] == 5
    with pytest.raises(click.UsageError):
        read([*arguments, "--of-another-release"])


def test_every_node_and_worker_answers_prometheus_and_no_two_on_one_machine_at_one_port() -> None:
    found = {where: read(arguments) for where, arguments in commands() if where != "Dockerfile"}
    metrics = {where: options["metrics"] for where, (name, options) in found.items() if name in {"serve", "worker"}}
    assert all(metrics.values()), metrics
    assert metrics["llavero.service"] != metrics["llavero-worker.service"]
    assert metrics["llavero.service"].startswith("127.0.0.1:")
    for each in IN_KUBERNETES:
        where = f"kubernetes {each['metadata']['name']}"
        if where in metrics:
            (container,) = each["spec"]["template"]["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert metrics[where] == f"0.0.0.0:{ports['metrics']}"
    # Neither the proxies nor Compose lead there from outside.
    for path in ("nginx/nginx.conf", "apache/llavero.conf"):
        text = (DEPLOY / path).read_text()
        assert "9464" not in text
        assert "metrics" in text
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert all("9464" not in port for service in services.values() for port in service.get("ports", ()))


@pytest.mark.spec("F-12")
def test_who_stops_a_node_waits_until_it_has_drained() -> None:
    longest = 5 + policy.DRAIN_MAX.total_seconds()
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name in ("node-a", "node-b", "worker"):
        assert int(compose[name]["stop_grace_period"].removesuffix("s")) > longest
    for name in ("llavero.service", "llavero-worker.service"):
        (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "systemd" / name).read_text(), re.MULTILINE)
        assert int(seconds) > longest
    for each in IN_KUBERNETES:
        if each["kind"] == "Deployment":
            assert each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > longest


@pytest.mark.spec("O-3")
def test_probes_ask_for_what_a_node_answers() -> None:
    asked: set[str] = set()
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file():
            asked |= set(re.findall(r"/health/[a-z]+", path.read_text()))
    assert asked == {"/health/live", "/health/ready"}
    (nodes,) = [each for each in IN_KUBERNETES if each["metadata"]["name"] == "llavero"]
    (container,) = nodes["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for kind, path in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
        probe = container[f"{kind}Probe"]["httpGet"]
        assert probe["path"] == f"/health/{path}"
        assert probe["port"] in ports
    # Apache has taken a node out before it stops serving.
    looks = re.findall(r"hcinterval=(\d+) hcfails=(\d+)", (DEPLOY / "apache/llavero.conf").read_text())
    assert len(looks) == 2
    assert all(int(interval) * int(fails) < 5 for interval, fails in looks)
