"""What every test shares."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from idp.keys import KeyRing

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    """An instant that no test changes: Tuesday 24 November 2026, 12:00 in Mexico City."""
    return NOW


class _Compiled(BytecodeCache):
    """Templates compiled once for all applications of this process; a changed one is known by its text."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def _compiled_templates() -> Iterator[None]:
    """Most tests of pages make an application of their own, whose templates would take longer than the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Flask.jinja_options, "bytecode_cache", _Compiled())
        yield


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
