"""What a run was made on: the machine, and which versions of what."""

import json
import os
import platform
import shutil
import subprocess
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import generator

_OURS = ("authlib", "flask", "sqlalchemy", "granian", "joserfc", "cryptography", "argon2-cffi")


def describe(peers: Path, load_before: float) -> dict[str, Any]:
    """Cores, memory, load and versions, also of the peers below `peers`. `load_before` was before the run."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(load_before, 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "generator": generator.name(),
        "versions": {package: version(package) for package in _OURS},
        "tools": {name: found for name in ("node", "redis-server", "postgres") if (found := _ask(name))},
        "peers": _peer_versions(peers),
    }


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _ask(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        return ""
    words = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.split()
    numbers = [word.removeprefix("v=").removeprefix("v") for word in words]
    return next((number for number in numbers if number[:1].isdigit()), "")


def _peer_versions(place: Path) -> dict[str, str]:
    found = {}
    for folder, package in (("django", "django_oauth_toolkit"), ("canaille", "canaille")):
        for info in place.glob(f"{folder}/lib/python*/site-packages/{package}-*.dist-info"):
            found[package.replace("_", "-")] = info.name.removesuffix(".dist-info").rpartition("-")[2]
    package_json = place / "node" / "node_modules" / "oidc-provider" / "package.json"
    if package_json.exists():
        found["oidc-provider"] = json.loads(package_json.read_text())["version"]
    return found
