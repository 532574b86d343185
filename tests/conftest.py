"""What every test shares."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from idp.keys import KeyRing

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    """An instant that no test changes: Tuesday 24 November 2026, 12:00 in Mexico City."""
    return NOW


@pytest.fixture(scope="session")
def _made_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    KeyRing(folder).ensure(NOW - timedelta(days=1))
    return folder


@pytest.fixture
def keys_folder(_made_keys: Path, tmp_path: Path) -> Path:
    """A folder with one key of each algorithm, the test's own: making an RSA key costs a tenth of a second."""
    folder = tmp_path / "keys"
    shutil.copytree(_made_keys, folder)
    return folder
