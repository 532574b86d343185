"""docs/conformance.md names tests that there are, for every module, and commands that there are."""

import json
import re

import pytest

from idp.cli.clients import client
from tests.protocol_http.conftest import CLAIMS
from tests.serving import ROOT

TEXT = (ROOT / "docs/conformance.md").read_text(encoding="utf-8")
SHORT = {
    "B": "test_basic_plan.py",
    "H": "test_hybrid_and_implicit_plan.py",
    "D": "test_dynamic_plan.py",
    "L": "test_logout_plan.py",
}
ROWS = re.findall(r"^\| (`oidcc-[^|]*|every module[^|]*) \| ([^|]*) \| ([^|]*) \|$", TEXT, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`([\w./]+)::(test_\w+)`", TEXT)))


def test_every_module_has_a_test_and_a_result() -> None:
    assert len(ROWS) > 100
    for module, tests, result in ROWS:
        assert re.fullmatch(r"(`[\w./]+::test_\w+`(, )?)+", tests), module
        assert result.startswith(("✓", "—", "✗", "as above")), module
    for mark, meaning in ((f"`{letter}::` is `{name}::`", name) for letter, name in SHORT.items()):
        assert mark in TEXT, meaning


@pytest.mark.parametrize(("place", "name"), NAMED)
def test_every_test_that_is_named_is_there(place: str, name: str) -> None:
    place = SHORT.get(place, place)
    path = ROOT / "tests" / (place if "/" in place else f"protocol_http/{place}")
    assert re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_configuration_is_json_and_the_person_has_every_claim() -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
    assert [type(block) for block in blocks] == [dict, list]
    claims = re.search(r"<<'JSON'\n(.*?)\nJSON", TEXT, re.DOTALL)
    assert claims
    assert set(json.loads(claims[1])) == set(CLAIMS) - {"preferred_username"}  # which is the username


def test_the_options_of_the_clients_are_there() -> None:
    options = {option for each in client.commands["add"].params for option in each.opts}
    block = re.search(r"^add\(\) \{.*?^```", TEXT, re.DOTALL | re.MULTILINE)
    assert block
    assert set(re.findall(r"--[a-z-]+", block[0])) <= options
