"""With CI=true a test that skips itself for a missing part fails; an optional one may."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPS = {
    "in the test": "import pytest\ndef test(): pytest.skip('{reason}')\n",
    "by a mark": "import pytest\n@pytest.mark.skipif(True, reason='{reason}')\ndef test(): pass\n",
    "in a fixture": "import pytest\n@pytest.fixture\ndef part(): pytest.skip('{reason}')\ndef test(part): pass\n",
    "of a module": "import pytest\npytest.skip('{reason}', allow_module_level=True)\n",
}


def _run(folder: Path, code: str, *, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(code)
    (folder / "test_beside.py").write_text("def test_beside(): assert True\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "tests.skips", str(folder)]
    environment = os.environ | {"CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("code", SKIPS.values(), ids=SKIPS)
def test_a_missing_part_fails_in_ci(tmp_path: Path, code: str) -> None:
    done = _run(tmp_path, code.format(reason="Chromium is missing"), ci="true")
    assert done.returncode != 0
    assert "With CI=true nothing may be skipped: Chromium is missing" in done.stdout


@pytest.mark.parametrize("code", SKIPS.values(), ids=SKIPS)
def test_a_missing_part_is_said_aloud_elsewhere(tmp_path: Path, code: str) -> None:
    done = _run(tmp_path, code.format(reason="Chromium is missing"), ci="")
    assert done.returncode == 0, done.stdout
    assert "Chromium is missing" in done.stdout


def test_what_is_optional_may_be_missing_in_ci(tmp_path: Path) -> None:
    done = _run(tmp_path, SKIPS["by a mark"].format(reason="optional: no samples here"), ci="true")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_nothing_is_expected_to_fail_in_ci(tmp_path: Path, ci: str, code: int) -> None:
    test = "import pytest\n@pytest.mark.xfail(reason='upstream')\ndef test(): assert False\n"
    done = _run(tmp_path, test, ci=ci)
    assert done.returncode == code, done.stdout
    assert ("nothing may be expected to fail: upstream" in done.stdout) == bool(code)
