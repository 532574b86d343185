"""What the code imports is among what is wanted, and what is wanted is among what is locked."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tools import components

ROOT = Path(__file__).resolve().parents[2]
OURS = {"idp", "idp_kit", "invoice_mailbox", "demo", "tests", "tools", "bench"}
BROUGHT_ALONG = {"werkzeug", "jinja2", "markupsafe", "wtforms", "_typeshed"}
"""Parts of Flask and Flask-WTF, and what only type checkers see."""
EVERYTHING = ("runtime", "demo", "tracing", "dev")


def _names(path: Path, pattern: str) -> set[str]:
    found = re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def _wanted(*lists: str) -> set[str]:
    return {name for each in lists for name in _names(ROOT / f"requirements/{each}.in", r"^([A-Za-z][\w.-]*)")}


def _imports(folder: str) -> Iterator[tuple[str, str]]:
    """Each top-level name that is imported from elsewhere, with the file that does."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        # What stands in `peers` runs in a peer's own environment, which bench/peers/*.txt lock.
        if {"node_modules", "build", "peers"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                if top not in sys.stdlib_module_names and top not in OURS:
                    yield top, path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    ("folder", "lists"),
    [
        ("idp", ("runtime", "tracing")),
        ("kit/idp_kit", ("runtime",)),
        ("migrations", ("runtime",)),
        ("examples", ("runtime", "demo")),
        ("demo", ("runtime", "demo")),
        ("tools", EVERYTHING),
        ("bench", EVERYTHING),
    ],
)
def test_what_is_imported_is_wanted(folder: str, lists: tuple[str, ...]) -> None:
    owners = packages_distributions()
    wanted = _wanted(*lists)
    missing = [
        f"{path}: {top}"
        for top, path in _imports(folder)
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners.get(top, [top])} & wanted
        and top not in BROUGHT_ALONG
    ]
    assert missing == []


@pytest.mark.parametrize("name", [*EVERYTHING, "node", "audit"])
def test_what_is_wanted_is_locked(name: str) -> None:
    wanted = _wanted(name)
    locked = _names(ROOT / f"requirements/{name}.txt", r"^([A-Za-z][\w.-]*)==")
    assert wanted
    assert wanted - locked == set()


@pytest.mark.spec("O-8", "A 15.1.1")
@pytest.mark.parametrize("name", [*EVERYTHING, "node", "audit"])
def test_every_lock_has_hashes(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    entries = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
    assert entries
    # Each is one version, and ends in the hashes of what may be installed of it.
    whole = re.compile(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; [^\\\n]+)?( \\\n +--hash=sha256:[0-9a-f]{64})+\n")
    assert [entry.partition("\n")[0] for entry in entries if not whole.fullmatch(entry)] == []


@pytest.mark.spec("O-8")
def test_whatever_installs_from_a_lock_demands_its_hashes() -> None:
    makers = ("Makefile", "deploy/Dockerfile", "tools/test-parts")
    installs = [
        line.strip()
        for path in makers
        for line in (ROOT / path).read_text().splitlines()
        if re.search(r"(pip install|\$\(PIP\)).* -r |pip-audit .*-r ", line)
    ]
    assert len(installs) >= 4
    assert [line for line in installs if "--require-hashes" not in line] == []


@pytest.mark.spec("O-8", "A 15.1.2")
def test_the_published_list_of_components_is_that_of_the_locks() -> None:
    published = (ROOT / components.LIST).read_text("utf-8")
    assert published == components.make_list(ROOT), "run: make components"
    listed = {each["name"] for each in json.loads(published)["components"]}
    locked = {
        name
        for each in components.LOCKS
        for name in _names(ROOT / f"requirements/{each}.txt", r"^([A-Za-z][\w.-]*)(?:\[.*\])?==")
    }
    assert {"flask", "cryptography", "granian"} <= locked <= listed


@pytest.mark.spec("O-8")
def test_an_audit_that_cannot_ask_does_not_pass() -> None:
    (line,) = [each for each in (ROOT / "Makefile").read_text().splitlines() if each.strip().startswith("pip-audit")]
    assert "--strict" in line


def test_the_locks_agree() -> None:
    pins: dict[str, set[str]] = {}
    for name in EVERYTHING:
        for package, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"requirements/{name}.txt").read_text(), re.M):
            pins.setdefault(package, set()).add(version)
    assert {package: versions for package, versions in pins.items() if len(versions) > 1} == {}
