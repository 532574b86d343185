"""What the command line says of an error that is no fault of ours."""

from idp.accounts.errors import Refusal
from idp.cli.archive import ArchiveProblem
from idp.db import StoreUnavailable, TablesBusy
from idp.protocol.errors import ClientProblem
from idp.snapshot import SnapshotProblem
from idp.wiring import KeyProblem, SettingsError


def explain(error: Exception) -> str | None:
    """One line for an operator; None for an error that nobody has foreseen."""
    match error:
        case ArchiveProblem() | ClientProblem() | KeyProblem() | Refusal() | SettingsError() | SnapshotProblem():
            return str(error)
        case TablesBusy():
            return "a table was in use for too long, and nothing was changed: run this again"
        case OSError(filename=name) if name is not None:
            # A file or folder that the caller named, or that the settings name.
            return f"{name}: {error.strerror}"
        case StoreUnavailable():
            return "the database does not answer, or has no tables yet: idp init makes them"
        case _:
            return None
