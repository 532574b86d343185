"""The source obeys the rules of the house."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.architecture import rules
from tools.spec import find_marks

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("idp", "kit", "examples", "bench", "tools", "demo", "tests")
LOOKS_AT_CLOCKS = re.compile(r"idp/(web/.*|cli/.*|jobs|cli)\.py")


def _files(*patterns: str) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    made_by_others = {"node_modules", "build", "dist"}
    return [path for path in found if not made_by_others & set(path.relative_to(ROOT).parts)]


CODE = _files("wsgi.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
MODULES = [path for path in CODE if path.name != "__init__.py"]
SERVER = _files("idp/**/*.py")
TEMPLATES = _files("idp/templates/**/*.html", "examples/**/*.html", "demo/**/*.html")


def _complaints(rule: Callable[[str], Iterator[str]], paths: Iterable[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {complaint}"
        for path in paths
        for complaint in rule(path.read_text(encoding="utf-8"))
    ]


def test_there_is_something_to_look_at() -> None:
    # An empty list would satisfy every rule below.
    assert len(SERVER) > 30
    assert len(CODE) > len(SERVER)
    assert TEMPLATES


def test_no_file_has_two_subjects() -> None:
    assert _complaints(rules.find_long_file, CODE) == []


def test_every_module_says_what_lives_there() -> None:
    assert _complaints(rules.find_missing_docstring, MODULES) == []


def test_packages_of_the_server_are_empty() -> None:
    # Importing idp.policy must not load Flask.
    assert [str(path.relative_to(ROOT)) for path in SERVER if path.name == "__init__.py" and path.read_text()] == []


def test_spans_are_decided_in_policy() -> None:
    assert _complaints(rules.find_span_literals, [path for path in SERVER if path.name != "policy.py"]) == []


@pytest.mark.spec("O-7")
def test_time_is_an_argument() -> None:
    others = [path for path in SERVER if not LOOKS_AT_CLOCKS.fullmatch(path.relative_to(ROOT).as_posix())]
    assert len(others) < len(SERVER)
    assert _complaints(rules.find_clock_reads, others) == []


@pytest.mark.spec("O-7")
def test_no_statement_looks_at_the_clock_of_the_database() -> None:
    # `idp doctor` compares that clock with ours.
    others = [path for path in _files("idp/**/*.py", "migrations/**/*.py") if path.name != "installation.py"]
    assert _complaints(rules.find_clock_of_the_store, others) == []
    assert _complaints(rules.find_clock_of_the_store, [ROOT / "idp/installation.py"]) != []


def test_authlib_is_used_through_its_neutral_core() -> None:
    assert _complaints(rules.find_banned_imports, _files("idp/**/*.py", "kit/**/*.py")) == []


def test_the_kit_lists_its_public_face() -> None:
    assert _complaints(rules.find_public_face, [ROOT / "kit/idp_kit/__init__.py"]) == []


def test_modules_are_named_for_what_they_hold() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in CODE]
    assert [complaint for name in names for complaint in rules.find_vague_name(name)] == []


def test_templates_hold_no_style_and_no_script() -> None:
    # Mails have no style sheet and no content security policy; what mail programs show is what stands at the element.
    pages = [path for path in TEMPLATES if "idp/templates/mail" not in path.as_posix()]
    assert len(pages) < len(TEMPLATES)
    assert _complaints(rules.find_inline_code, pages) == []


def test_marks_name_requirements() -> None:
    tests = _files("tests/**/test_*.py")
    identifiers = [identifier for path in tests for identifier, _ in find_marks(path.read_text(encoding="utf-8"))]
    assert list(rules.find_unknown_marks(iter(identifiers))) == []


@pytest.mark.parametrize("target", ["make demo", "make test"])
def test_the_readme_names_the_two_commands(target: str) -> None:
    assert target in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_settings_table_names_every_setting() -> None:
    declared = re.findall(r"^    (\w+): .* = _setting\(", (ROOT / "idp/settings.py").read_text(), re.MULTILINE)
    documented = set(re.findall(r"`(IDP_\w+)`", (ROOT / "docs/run.md").read_text(encoding="utf-8")))
    assert declared
    assert documented == {f"IDP_{name.upper()}" for name in declared}


def test_links_between_pages_lead_somewhere() -> None:
    pages = _files("*.md", "docs/**/*.md", "kit/*.md", "changes/*.md", "keys/*.md")
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert pages
    assert broken == []


def test_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'kit'}{os.pathsep}{ROOT / 'examples'}{os.pathsep}{ROOT}"}
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
