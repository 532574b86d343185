"""The command `idp`: operators' work, at a terminal or in a script.

Errors go to stderr in one line and exit 1; usage errors exit 2. Secrets come from stdin or are printed once; no
option takes one.
"""

import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

import click

from idp import audit
from idp.accounts.errors import Refusal
from idp.cli.accounts import account
from idp.cli.archive import ArchiveProblem
from idp.cli.backup import backup, restore
from idp.cli.clients import client
from idp.cli.doctor import doctor
from idp.cli.keys import keys
from idp.cli.mail import mail
from idp.cli.run import init, serve, worker
from idp.cli.terminal import fail
from idp.db import StoreUnavailable, TablesBusy
from idp.protocol.errors import ClientProblem
from idp.snapshot import SnapshotProblem
from idp.wiring import KeyProblem, SettingsError

LOGIN = Path("/proc/self/loginuid")
_NOBODY = 0xFFFFFFFF


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="llavero", prog_name="idp")
def cli() -> None:
    """Llavero, the identity provider of an e-invoice company."""


for command in (init, serve, worker, keys, client, account, mail, backup, restore, doctor):
    cli.add_command(command)


def find_operator() -> str:
    """Who is at the terminal: who signed in to this machine, whatever account runs the command; or the account."""
    # The kernel keeps it over sudo and su; a container or a service has none.
    with suppress(OSError, ValueError):
        signed_in = int(LOGIN.read_text())
        if signed_in != _NOBODY:
            return _name_of(signed_in)
    return os.environ.get("SUDO_USER") or _name_of(os.getuid())


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def main() -> None:
    """Run the command line."""
    before = audit.origin.set(audit.Origin(address="command line", operator=find_operator()))
    try:
        cli(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        fail(error.format_message())
    except (ArchiveProblem, ClientProblem, KeyProblem, Refusal, SettingsError, SnapshotProblem) as error:
        fail(str(error))
    except TablesBusy:
        fail("a table was in use for too long, and nothing was changed: run this again")
    except OSError as error:
        if error.filename is None:
            raise
        # A file or folder that the caller named, or that the settings name.
        fail(f"{error.filename}: {error.strerror}")
    except StoreUnavailable:
        fail("the database does not answer, or has no tables yet: idp init makes them")
    finally:
        # Who calls this from a program of their own is not the operator of what they do next.
        audit.origin.reset(before)
