"""The kit as a stranger gets it: built, and imported where nothing else of the project is."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

KIT = Path(__file__).parents[2] / "kit"

REQUIRED = ("joserfc", "cryptography", "cffi", "_cffi_backend", "pycparser", "tzdata")
"""What `pip install idp-kit` brings, by name of module. Flask and SQLAlchemy are extras."""

PROGRAM = """
import importlib.util, json, warnings
warnings.simplefilter("error")
import idp_kit
from datetime import UTC, datetime
claim = idp_kit.read_claim({
    "rfc": "EKU9003173C9", "actions": ["read"], "role": ["receiver"], "retention_days": 90,
    "time_zone": "America/Mexico_City", "stamped_from": "2026-08-26"})
now = datetime(2026, 11, 24, 18, tzinfo=UTC)
print(json.dumps({
    "from": idp_kit.__file__,
    "present": [name for name in ("idp", "invoice_mailbox", "flask", "sqlalchemy") if importlib.util.find_spec(name)],
    "visible": [idp_kit.is_visible(claim, "EKU9003173C9", stamp, now, now)
                for stamp in ("2026-08-26T00:00:00", "2026-08-25T23:59:59")],
    "public": sorted(set(idp_kit.__all__) - set(dir(idp_kit)))}))
"""


@pytest.fixture(scope="module")
def kit_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Building writes beside the sources, so it is done elsewhere."""
    copy = tmp_path_factory.mktemp("source") / "kit"
    shutil.copytree(KIT, copy, ignore=shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__"))
    return copy


def build(kind: str, source: Path, into: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", into, source],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = into.iterdir()
    return built


def test_the_wheel_works_alone(kit_copy: Path, tmp_path: Path) -> None:
    wheel = build("wheel", kit_copy, tmp_path / "dist")
    place = tmp_path / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(packages)
    assert "idp_kit/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"idp_kit", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    for name in REQUIRED:
        found = importlib.util.find_spec(name)
        assert found is None or found.origin is not None
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            real = origin.parent if origin.name == "__init__.py" else origin
            (packages / real.name).symlink_to(real)
    run = subprocess.run(
        [place / "bin/python", "-I", "-c", PROGRAM],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said.pop("from").startswith(str(packages))
    assert said == {"present": [], "visible": [True, False], "public": []}


def test_the_source_distribution_holds_the_vectors(kit_copy: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", kit_copy, tmp_path / "dist")) as archive:
        inside = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"vectors/retention.tsv", "idp_kit/retention.py", "README.md"} <= inside


def test_the_public_face_never_imports_the_guard() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import idp_kit, sys; print({'flask', 'sqlalchemy'} & set(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PYTHONPATH": str(KIT)},
    )
    assert run.stdout.strip() == "set()"
