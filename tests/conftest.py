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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let tests of one `xdist_group` share a process, and with it the servers that their fixtures start.

    The scheduler of pytest-xdist knows a group by the end of a test's id, which xdist 3.8 no longer reaches: pytest 9.2
    keeps it elsewhere (https://github.com/pytest-dev/pytest-xdist/issues/1386). Once it does, this changes nothing.
    """
    if not getattr(config.option, "loadgroup", False):  # set in the workers of `--dist loadgroup` alone
        return
    for item in items:
        groups = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
        end = "@" + "_".join(sorted(groups))
        if groups and not item.nodeid.endswith(end):
            item._id = type(item.id).parse(item.nodeid + end)


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
