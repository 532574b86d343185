"""The command `idp`: operators' work, at a terminal or in a script.

Errors go to stderr in one line and exit 1; usage errors exit 2. Secrets come from stdin or are printed once; no
option takes one. A command's module is loaded when the command is asked for: a server does without all the others.
"""

import gc
import importlib
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import click

LOGIN = Path("/proc/self/loginuid")
_NOBODY = 0xFFFFFFFF
_MODULES = {
    "account": "accounts",
    "backup": "backup",
    "client": "clients",
    "doctor": "doctor",
    "init": "run",
    "keys": "keys",
    "mail": "mail",
    "restore": "backup",
    "serve": "run",
    "worker": "run",
}
"""Where in this package each command is."""


class _Commands(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        found: click.Command = getattr(_load(f"idp.cli.{_MODULES[name]}"), name)
        return found


def _load(name: str) -> ModuleType:
    """Import a module. What comes with it stays: garbage is not looked for in it, neither meanwhile nor later."""
    if name in sys.modules:
        return sys.modules[name]
    # The collector would look through all of it some hundred times while it comes, a tenth of what an import takes.
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="llavero", prog_name="idp")
def cli() -> None:
    """Llavero, the identity provider of an e-invoice company."""


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
    _load("idp.cli.terminal")  # what every command needs
    from idp import audit
    from idp.cli.terminal import fail

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
    except Exception as error:
        from idp.cli.refusals import explain

        text = explain(error)
        if text is None:
            raise
        fail(text)
    finally:
        # Who calls this from a program of their own is not the operator of what they do next.
        audit.origin.reset(before)
