"""The `idp` command in the very process of the tests, which has paid for its imports already."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from contextvars import copy_context
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from idp.cli.main import main


class Done(NamedTuple):
    """How a command ended."""

    exit_code: int
    output: str
    errors: str


def run_here(arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdin: str = "") -> Done:
    """Run one `idp` command with this environment and nothing of ours, in `folder`.

    For one thread at a time: environment, working folder and standard streams belong to the whole process.
    """
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "argv", ["idp", *arguments]),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        chdir(folder),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            # A copy: who the command acts for must not become who this process acts for.
            copy_context().run(main)
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, output.getvalue(), errors.getvalue())
