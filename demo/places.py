"""Where each part of the demo listens, and where it keeps its things."""

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 5000


class DemoProblem(Exception):
    """The demo cannot start; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses and folders, all counted from one port and one folder."""

    port: int
    folder: Path
    cfdi: Path
    """The folder of invoices: the demo's own, or the one `DEMO_CFDI` names."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Places":
        """`DEMO_PORT` moves all ports, `DEMO_INSTANCE` the folder; raises `DemoProblem` for what cannot be used."""
        try:
            port = int(environment.get("DEMO_PORT", "") or DEFAULT_PORT)
        except ValueError:
            port = 0
        if not 1024 <= port <= 65000:
            raise DemoProblem("DEMO_PORT: write a number from 1024 to 65000")
        # Addresses stand in what is registered: another port is another demo, with its own data.
        own = ROOT / "instance" if port == DEFAULT_PORT else ROOT / "instance" / f"demo-{port}"
        folder = Path(environment.get("DEMO_INSTANCE", "") or own).resolve()
        chosen = environment.get("DEMO_CFDI", "")
        if chosen and not Path(chosen).is_dir():
            raise DemoProblem(f"DEMO_CFDI: there is no folder {chosen}")
        return cls(port, folder, Path(chosen).resolve() if chosen else folder / "cfdi")

    # The provider is on `localhost` and the mailbox on `127.0.0.1`: browsers share cookies between the ports of a host.

    @property
    def provider(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def mailbox(self) -> str:
        return f"http://127.0.0.1:{self.port + 1}"

    @property
    def inbox(self) -> str:
        return f"http://127.0.0.1:{self.port + 2}"

    @property
    def smtp_port(self) -> int:
        return self.port + 25

    @property
    def env_file(self) -> Path:
        return self.folder / "demo.env"

    @property
    def users_file(self) -> Path:
        return self.folder / "demo-users.json"

    @property
    def log_file(self) -> Path:
        return self.folder / "demo.log"

    @property
    def ports(self) -> dict[int, str]:
        """Each port, and who listens there."""
        return {
            self.port: "the identity provider",
            self.port + 1: "the example mailbox",
            self.port + 2: "the mail inbox page",
            self.smtp_port: "the mail inbox (SMTP)",
        }


def check_ports(places: Places) -> None:
    """Raise `DemoProblem` naming the first port that another program holds."""
    for port, owner in places.ports.items():
        # Browsers try ::1 first for `localhost`: a stranger there would be met in our place.
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            if _is_held(family, host, port):
                raise DemoProblem(
                    f"Port {port} is in use, and {owner} needs it. Is the demo running already? "
                    f"See who holds it: ss -ltnp 'sport = :{port}'. Or take others: make demo DEMO_PORT=6000"
                )


def _is_held(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return False  # no IPv6 on this machine
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE  # an address that this machine lacks is nobody's
    return False
