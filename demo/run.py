"""The demo from start to end: check ports, prepare, hand the Procfile to Honcho, keep its chatter in a log."""

import signal
import sys
from pathlib import Path
from typing import TextIO

import click
from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message, Printer

from demo.commands import with_tools
from demo.places import ROOT, DemoProblem, Places, check_ports
from demo.prepare import prepare

VOICE = "ready"
"""The process whose lines are for the person; those of the others go to the log."""

TAIL = 15  # lines of the log that are shown when a part fails


class Split(Printer):
    """Honcho's printer into the log, except for the lines of one process."""

    def __init__(self, log: TextIO) -> None:
        super().__init__(log)

    def write(self, message: Message) -> None:
        """Show it or log it."""
        if message.name != VOICE:
            super().write(message)
            return
        text = message.data.decode("utf-8", "replace") if isinstance(message.data, bytes) else message.data
        click.echo(text, nl=False)


def main() -> int:
    """Run until Ctrl-C, or until one part ends by itself; the exit status."""
    try:
        places = Places.from_environment()
        check_ports(places)
        settings = prepare(places, lambda part: click.echo(f"  {part}"))
    except DemoProblem as problem:
        click.echo(str(problem), err=True)
        return 1
    with places.log_file.open("w", encoding="utf-8") as log:
        manager = Manager(Split(log))
        environment = with_tools(settings) | {"PYTHONUNBUFFERED": "1"}
        for name, command in parse_procfile((ROOT / "demo" / "Procfile").read_text()).processes.items():
            manager.add_process(name, command, env=environment, cwd=str(ROOT))
        manager.loop()
    if manager.returncode in {128 + signal.SIGINT, 128 + signal.SIGTERM}:
        click.echo("\nEverything has ended.")
        return 0
    click.echo(f"\nA part of the demo ended, and so did the others. The last words of {places.log_file}:", err=True)
    click.echo("\n".join(_last_lines(places.log_file)), err=True)
    return 1


def _last_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if " system " not in line][-TAIL:]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Ctrl-C while it was still preparing: what is done is kept, the rest is done next time.
        sys.exit(1)
