"""Runs programs for the demo, with its settings and the packages of this checkout."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from demo.places import ROOT, DemoProblem


def with_tools(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with the demo's settings, and with the programs and packages of this checkout."""
    programs = str(Path(sys.executable).parent)
    packages = (ROOT / "kit", ROOT / "examples", ROOT)
    # Settings of a real deployment in the caller's shell must not leak into the demo.
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("IDP_", "MAILBOX_"))}
    return {
        **outer,
        **settings,
        "PATH": programs + os.pathsep + outer.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(map(str, packages)),
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def run_idp(arguments: list[str], environment: Mapping[str, str], *, stdin: str = "") -> str:
    """What the `idp` command line printed; `DemoProblem` with its own words if it refused."""
    return run_program(["idp", *arguments], environment, stdin=stdin)


def run_program(command: list[str], environment: Mapping[str, str], *, stdin: str = "") -> str:
    """What a program printed; `DemoProblem` with its last words if it failed."""
    try:
        done = subprocess.run(
            command, input=stdin, env=dict(environment), cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise DemoProblem(f"{command[0]} is not installed: run make demo") from None
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        raise DemoProblem(f"{' '.join(command[:3])}: {words[0]}")
    return done.stdout
