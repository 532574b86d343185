"""Makes what the demo shows, as far as it is missing: settings, keys, tables, accounts, a relying party, invoices."""

import json
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping

from honcho.environ import parse

from demo.commands import run_idp, run_program, with_tools, write_private
from demo.people import add_people
from demo.places import Places

SCOPES = ("openid", "profile", "email", "rfc", "offline_access", "mailbox:read", "mailbox:download")


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
    add_people(places, environment, say)
    if "MAILBOX_CLIENT_ID" not in settings:
        say("the example mailbox as a relying party")
        settings |= _add_client(places, environment)
        write_private(places.env_file, _as_env(settings))
    if places.cfdi == places.folder / "cfdi":
        say("invoices of the last 120 days")
        run_program([sys.executable, "-m", "invoice_mailbox.synthetic", str(places.cfdi)], environment)
    return settings


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


def _add_client(places: Places, environment: Mapping[str, str]) -> dict[str, str]:
    arguments = ["client", "add", "Buzón de facturas", "--redirect-uri", f"{places.mailbox}/callback"]
    arguments += ["--post-logout-redirect-uri", f"{places.mailbox}/signed-out", "--resource", places.mailbox]
    arguments += ["--backchannel-logout-uri", f"{places.mailbox}/backchannel-logout"]
    for scope in SCOPES:
        arguments += ["--scope", scope]
    for grant in ("authorization_code", "refresh_token"):
        arguments += ["--grant", grant]
    client = json.loads(run_idp([*arguments, "--json"], environment))
    return {"MAILBOX_CLIENT_ID": client["client_id"], "MAILBOX_CLIENT_SECRET": client["client_secret"]}


def _as_env(settings: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
