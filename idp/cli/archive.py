"""The file that a backup is: a compressed tar whose first member says what the others are and what they sum up to."""

import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idp.snapshot import sync_folder

MANIFEST = "manifest.json"
_FORMAT = 1
_MEMBER = re.compile(r"(?:database|keys)/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,150}")
_BLOCK = 1 << 20
_MANIFEST_MAX = 1 << 20
_COMPRESSION = 3  # rows of digests hardly shrink; more effort buys nothing


class ArchiveProblem(Exception):
    """The file is no backup of ours, or not what it was when it was written."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the file says of itself, beside the checksums."""

    facts: Mapping[str, Any]
    sums: Mapping[str, str]


def write(path: Path, folder: Path, facts: Mapping[str, Any]) -> str:
    """Make `path` of the files in `folder`, readable to its owner only; its SHA-256.

    It has its name once it is on the disk as a whole. `FileExistsError` if there is such a file.
    """
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    sums = {each.relative_to(folder).as_posix(): _sum(each) for each in files}
    manifest = json.dumps({"format": _FORMAT, **facts, "sha256": sums}, indent=2).encode()
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    try:
        with (
            os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file,
            tarfile.open(fileobj=file, mode="w:gz", compresslevel=_COMPRESSION) as tar,
        ):
            tar.addfile(_entry(MANIFEST, len(manifest)), io.BytesIO(manifest))
            for name in sums:
                with (folder / name).open("rb") as member:
                    tar.addfile(_entry(name, (folder / name).stat().st_size), member)
            tar.close()
            file.flush()
            os.fsync(file.fileno())
        # Not rename(), which would replace a file that has come meanwhile.
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
    return _sum(path)


def read(path: Path, folder: Path) -> Manifest:
    """Unpack `path` into the empty `folder` and check every byte; `ArchiveProblem`, also where something is missing."""
    try:
        return _read(path, folder)
    except (tarfile.TarError, zlib.error, EOFError, ValueError, KeyError, TypeError) as error:
        raise ArchiveProblem(f"{path.name} is no backup of ours, or damaged") from error
    except OSError as error:
        # Not gzip at all is an OSError too, without words of the system.
        raise ArchiveProblem(f"{path.name}: {error.strerror or 'no backup of ours, or damaged'}") from error


def _read(path: Path, folder: Path) -> Manifest:
    with tarfile.open(path, "r:gz") as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or first.size > _MANIFEST_MAX:
            raise ArchiveProblem(f"{path.name} is no backup of ours")
        facts = json.loads(_open(tar, first).read())
        if facts["format"] != _FORMAT:
            raise ArchiveProblem(f"{path.name} was written by another release: format {int(facts['format'])}")
        sums: dict[str, str] = dict(facts.pop("sha256"))
        left = dict(sums)
        while (entry := tar.next()) is not None:
            # Nothing is written outside the folder, whatever the file says.
            if entry.name not in left or not _MEMBER.fullmatch(entry.name) or not entry.isreg():
                raise ArchiveProblem(f"{path.name} holds what its list does not name")
            if _unpack(_open(tar, entry), folder / entry.name) != left.pop(entry.name):
                raise ArchiveProblem(f"{path.name} is damaged: {entry.name} is not what was written")
    if left:
        raise ArchiveProblem(f"{path.name} is not complete: {next(iter(left))} is missing")
    return Manifest(facts, sums)


def _open(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Any:
    found = tar.extractfile(entry)
    if found is None:
        raise ArchiveProblem(f"{entry.name} is no file")
    return found


def _unpack(source: Any, target: Path) -> str:
    found = hashlib.sha256()
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while block := source.read(_BLOCK):
            found.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
