"""Makes what the demo shows, as far as it is missing: settings, keys, tables, accounts, a relying party, invoices."""

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from honcho.environ import parse

from demo.places import ROOT, DemoProblem, Places

ORGANIZATION = "EKU9003173C9"
SCOPES = ("openid", "profile", "email", "rfc", "offline_access", "mailbox:read", "mailbox:download")


@dataclass(frozen=True, slots=True)
class DemoUser:
    """One account of each kind. The RFCs are SAT's own for tests."""

    username: str
    kind: str
    name: str
    options: tuple[str, ...] = ()


USERS = (
    DemoUser("EKU9003173C9", "client", "Cliente de prueba"),
    DemoUser("CT.KICR630120NX3", "employee", "Empleada de prueba", ("--organization", ORGANIZATION)),
    DemoUser("usr.XIA190128J61", "free", "Usuario del entorno gratuito"),
    DemoUser("adm.demo", "staff", "Administración de prueba", ("--role", "admin")),
)


def prepare(places: Places, say: Callable[[str], None]) -> dict[str, str]:
    """Bring everything into being that is not there yet; what the demo's processes need as environment."""
    places.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = parse(places.env_file.read_text()) if places.env_file.exists() else {}
    if not (places.folder / "idp.db").exists():
        # Accounts and clients went with the database: what was remembered of them is void.
        places.users_file.unlink(missing_ok=True)
        kept = {name: value for name, value in kept.items() if not name.startswith("MAILBOX_CLIENT")}
    settings = _settings(places, kept)
    write_private(places.env_file, _as_env(settings))
    environment = with_tools(settings)

    say("keys and tables")
    run_idp(["init"], environment)
    _add_accounts(places, environment, say)
    if "MAILBOX_CLIENT_ID" not in settings:
        say("the example mailbox as a relying party")
        settings |= _add_client(places, environment)
        write_private(places.env_file, _as_env(settings))
    if places.cfdi == places.folder / "cfdi":
        say("invoices of the last 120 days")
        _run([sys.executable, "-m", "invoice_mailbox.synthetic", str(places.cfdi)], environment)
    return settings


def make_password() -> str:
    """A password by the provider's rules that is easy to type: two made-up words round four digits."""
    words = ["".join(secrets.choice("bdfgklmnprstvz") + secrets.choice("aeiou") for _ in range(3)) for _ in range(2)]
    digits = f"{secrets.randbelow(10_000):04d}"
    return f"{words[0].capitalize()}-{digits}-{words[1].capitalize()}"


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


def read_users(places: Places) -> dict[str, dict[str, Any]]:
    """What is remembered of the demo's accounts, by username."""
    if not places.users_file.exists():
        return {}
    users: dict[str, dict[str, Any]] = json.loads(places.users_file.read_text(encoding="utf-8"))
    return users


def run_idp(arguments: list[str], environment: Mapping[str, str], *, stdin: str = "") -> str:
    """What the `idp` command line printed; `DemoProblem` with its own words if it refused."""
    return _run(["idp", *arguments], environment, stdin=stdin)


def _settings(places: Places, kept: Mapping[str, str]) -> dict[str, str]:
    settings = {
        "IDP_ISSUER": places.provider,
        "IDP_DATABASE_URL": f"sqlite:///{places.folder / 'idp.db'}",
        "IDP_KEYS_DIR": str(places.folder / "keys"),
        "IDP_SECRET_KEY": kept.get("IDP_SECRET_KEY") or secrets.token_urlsafe(48),
        "IDP_MAIL_SERVER": "127.0.0.1",
        "IDP_MAIL_PORT": str(places.smtp_port),
        "IDP_MAIL_TLS": "none",
        "IDP_MAIL_SENDER": "avisos@llavero.example",
        "IDP_SUPPORT_PHONE": "55 0000 0000",
        "IDP_SUPPORT_EMAIL": "soporte@llavero.example",
        "IDP_SUPPORT_HOURS": "Lunes a viernes, de 9:00 a 18:00 h",
        "IDP_ALLOW_LOOPBACK_CLIENTS": "1",
        "MAILBOX_ISSUER": places.provider,
        "MAILBOX_URL": places.mailbox,
        "MAILBOX_AUDIENCE": places.mailbox,
        "MAILBOX_CFDI": str(places.cfdi),
        "MAILBOX_INSTANCE": str(places.folder / "mailbox"),
        "DEMO_PORT": str(places.port),
        "DEMO_INSTANCE": str(places.folder),
        "DEMO_PROVIDER_PORT": str(places.port),
        "DEMO_MAILBOX_PORT": str(places.port + 1),
        "DEMO_INBOX_PORT": str(places.port + 2),
        "DEMO_SMTP_PORT": str(places.smtp_port),
    }
    return settings | {name: kept[name] for name in ("MAILBOX_CLIENT_ID", "MAILBOX_CLIENT_SECRET") if name in kept}


def _add_accounts(places: Places, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    users = read_users(places)
    for user in USERS:
        known = users.setdefault(user.username, {"kind": user.kind, "password": make_password(), "ready": False})
        if known["ready"]:
            continue
        # Written before the account is made: a run that is cut short leaves no account with an unknown password.
        write_private(places.users_file, json.dumps(users, indent=2, ensure_ascii=False) + "\n")
        say(f"account {user.username}")
        mail = user.username.lower().replace(".", "-") + "@buzon.example"
        options = ["--email", mail, "--name", user.name, *user.options, "--password-stdin", "--active"]
        try:
            run_idp(["account", "add", user.username, *options], environment, stdin=known["password"] + "\n")
        except DemoProblem:
            # An earlier run was cut short between making the account and noting it.
            run_idp(["account", "show", user.username], environment)
        known["ready"] = True
        write_private(places.users_file, json.dumps(users, indent=2, ensure_ascii=False) + "\n")


def _add_client(places: Places, environment: Mapping[str, str]) -> dict[str, str]:
    arguments = ["client", "add", "Buzón de facturas", "--redirect-uri", f"{places.mailbox}/callback"]
    arguments += ["--post-logout-redirect-uri", f"{places.mailbox}/signed-out", "--resource", places.mailbox]
    for scope in SCOPES:
        arguments += ["--scope", scope]
    for grant in ("authorization_code", "refresh_token"):
        arguments += ["--grant", grant]
    client = json.loads(run_idp([*arguments, "--json"], environment))
    return {"MAILBOX_CLIENT_ID": client["client_id"], "MAILBOX_CLIENT_SECRET": client["client_secret"]}


def _as_env(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())


def _run(command: list[str], environment: Mapping[str, str], *, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=stdin, env=dict(environment), cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise DemoProblem(f"{command[0]} is not installed: run make demo") from None
    if done.returncode:
        words = done.stderr.strip() or f"it ended with status {done.returncode}"
        raise DemoProblem(f"{' '.join(command[:3])}: {words}")
    return done.stdout
