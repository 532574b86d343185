"""`idp doctor`: what is wrong with an installation, and how to mend it."""

import ipaddress
import json
import os
import resource
import shutil
import stat
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from dotenv import dotenv_values
from flask import Flask

from idp import policy
from idp.cli.findings import FAIL, OK, WARN, Finding, Findings
from idp.cli.servers import check_clock, check_redis, check_store
from idp.cli.terminal import now, open_app
from idp.db import StoreUnavailable
from idp.delivery import NotTaken
from idp.web import tracing
from idp.web.current import EXTENSION
from idp.web.mailing import Mailer
from idp.wiring import KeyProblem, Services, SettingsError

_ANSWER_MAX = 256 * 1024


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--offline", is_flag=True, help="Ask neither the mail server nor the issuer's own address.")
def doctor(as_json: bool, offline: bool) -> None:
    """Check settings, store, keys, mail server, clock; say what is wrong and how to mend it. Exit 1 if something is.

    No mail is sent, and nothing changes but a row that is there to be rewritten.
    """
    try:
        app = open_app()
    except SettingsError as error:
        _report([Finding(FAIL, "settings", str(error), "mend it in the environment or .env; docs/run.md")], [], as_json)
        return
    services: Services = app.extensions[EXTENSION]
    checks: list[tuple[str, Callable[[], Findings]]] = [
        ("settings", lambda: _check_settings(services)),
        ("files", lambda: _check_files(services)),
        ("store", lambda: check_store(services)),
        ("clock", lambda: check_clock(services)),
        ("keys", lambda: _check_keys(services)),
        ("redis", lambda: check_redis(services)),
        ("outbox", lambda: _check_outbox(services)),
        ("disk", lambda: _check_disk(services)),
        ("limits", _check_limits),
        ("tracing", _check_tracing),
    ]
    if not offline:
        checks += [("mail", lambda: _check_mail(app)), ("issuer", lambda: _check_issuer(services))]
    findings = [finding for part, check in checks for finding in _look(part, check)]
    _report(findings, _settings(services), as_json)


def _look(part: str, check: Callable[[], Findings]) -> list[Finding]:
    """What a check finds; one that itself fails is a finding, and stops no other."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except StoreUnavailable:
        found.append(Finding(FAIL, part, "the database does not answer", "see the line `store`"))
    except Exception as error:
        found.append(
            Finding(FAIL, part, f"cannot be checked: {type(error).__name__}", "report it to whoever maintains us")
        )
    return found


# -- what is checked -------------------------------------------------------------------------------------------------


def _check_settings(services: Services) -> Findings:
    settings = services.settings
    kind = "production" if settings.is_production else "this machine only"
    yield Finding(OK, "settings", f"issuer {settings.issuer}, for {kind}")
    if settings.is_production and not settings.mail_sender:
        yield Finding(WARN, "settings", "mails come from a made-up address", "set IDP_MAIL_SENDER to one that exists")
    if settings.is_production and not (settings.support_email or settings.support_phone):
        yield Finding(WARN, "settings", "nobody is told how to reach support", "set IDP_SUPPORT_PHONE or _EMAIL")
    if settings.is_production and settings.mail_tls == "none" and not _is_local(settings.mail_server):
        yield Finding(WARN, "settings", "mail goes to another machine unencrypted", "set IDP_MAIL_TLS=starttls or tls")
    yield from _check_proxies(services)


def _check_proxies(services: Services) -> Findings:
    networks = [ipaddress.ip_network(each) for each in services.settings.trusted_proxies]
    wide = [str(each) for each in networks if each.prefixlen == 0 or (each.is_global and each.num_addresses > 1 << 16)]
    if wide:
        yield Finding(
            FAIL,
            "proxies",
            f"anybody in {', '.join(wide)} may say where requests come from",
            "name your proxies' own networks in IDP_TRUSTED_PROXIES",
        )
    elif networks:
        yield Finding(OK, "proxies", f"forwarded addresses are believed from {', '.join(map(str, networks))}")
    elif services.settings.is_production:
        yield Finding(
            WARN,
            "proxies",
            "no proxy is trusted: behind one, all requests seem to come from it, and share one throttle",
            "set IDP_TRUSTED_PROXIES to its network",
        )


def _check_files(services: Services) -> Findings:
    settings = services.settings
    private = [Path.cwd() / ".env", *settings.keys_dir.glob("*.pem")]
    database = _sqlite_path(services)
    open_to_all = [path.name for path in private if path.exists() and path.stat().st_mode & 0o077]
    if open_to_all:
        level = FAIL if settings.is_production else WARN
        yield Finding(level, "files", f"others can read {', '.join(open_to_all)}", "chmod 600 them")
    if settings.keys_dir.exists() and settings.keys_dir.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(FAIL, "files", f"others can put keys into {settings.keys_dir.name}/", "chmod 700 it")
    if database is not None and database.exists() and database.stat().st_mode & 0o007:
        safe = not database.parent.stat().st_mode & 0o007
        if not safe:
            yield Finding(WARN, "files", f"others can read {database.name}", "chmod 600 it, and 700 its folder")
    if not open_to_all:
        yield Finding(OK, "files", "secrets are readable to their owner only")


def _check_keys(services: Services) -> Findings:
    moment = now()
    try:
        services.keys.check_ready(moment)
    except KeyProblem as error:
        yield Finding(FAIL, "keys", str(error), "idp init makes what is missing")
        return
    found = services.keys.describe(moment)
    ages = [moment - key.signs_from for key in found if key.state == "current"]
    waits = sum(key.state == "next" for key in found)
    oldest = max(ages)
    text = f"{len(found)} published, {waits} of them waiting; the oldest that signs is {oldest.days} days old"
    if oldest > policy.KEY_AGE_MAX and not waits:
        yield Finding(WARN, "keys", text, "idp keys rotate")
    else:
        yield Finding(OK, "keys", text)


def _check_outbox(services: Services) -> Findings:
    status = services.outbox.status(now())
    if status.failed:
        yield Finding(WARN, "outbox", f"{status.failed} mails were refused for good", "idp mail status, idp mail retry")
    waits = timedelta() if status.oldest is None else now() - status.oldest
    if waits > policy.MAIL_WAIT_MAX:
        why = status.trouble or "nobody has tried it"
        text = f"{status.queued} mails wait, the oldest for {int(waits.total_seconds() // 60)} minutes: {why}"
        if status.trouble is None:
            yield Finding(FAIL, "outbox", text, "is `idp worker` running?")
        else:
            yield Finding(WARN, "outbox", text, "see the line `mail`; idp mail status")
    elif not status.failed:
        yield Finding(OK, "outbox", f"{status.queued} mails wait")


def _check_disk(services: Services) -> Findings:
    database = _sqlite_path(services)
    folders = (services.settings.keys_dir, database and database.parent)
    for folder in dict.fromkeys(each for each in folders if each):
        if not folder.exists():
            continue
        usage = shutil.disk_usage(folder)
        free = usage.free / usage.total
        text = f"{usage.free >> 20} MiB free at {folder.name}/ ({free:.0%})"
        if free < 0.01 or usage.free < 64 << 20:
            yield Finding(FAIL, "disk", text, "make room: without it nobody signs in")
        elif free < 0.1 and usage.free < 2 << 30:
            yield Finding(WARN, "disk", text, "make room soon")
        else:
            yield Finding(OK, "disk", text)
        if not os.access(folder, os.W_OK):
            yield Finding(FAIL, "disk", f"{folder.name}/ cannot be written", "run as the user who owns it")


def _check_limits() -> Findings:
    # The server raises the soft limit by itself; the hard one it has from whoever started it, as we have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= policy.OPEN_FILES_WANTED:
        yield Finding(OK, "limits", f"{policy.OPEN_FILES_WANTED} files and connections may be open")
    else:
        yield Finding(
            WARN,
            "limits",
            f"{most} files and connections may be open: slow callers can take them all",
            f"LimitNOFILE, ulimits or ulimit -n: {policy.OPEN_FILES_WANTED} for the server",
        )


def _check_tracing() -> Findings:
    if not tracing.is_wanted(os.environ):
        return
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk  # noqa: F401  # whether it is there is the question
    except ImportError:
        yield Finding(
            WARN,
            "tracing",
            "a collector is configured, the packages are missing",
            "pip install --require-hashes -r requirements/tracing.txt",
        )
    else:
        yield Finding(OK, "tracing", "traces go to the collector of the environment")


def _check_mail(app: Flask) -> Findings:
    settings = app.extensions[EXTENSION].settings
    where = f"{settings.mail_server}:{settings.mail_port}"
    try:
        Mailer(app).check()
    except NotTaken as error:
        yield Finding(FAIL, "mail", f"{where}: {error.reason}", "check IDP_MAIL_…; docs/mail.md")
    except SettingsError as error:
        yield Finding(FAIL, "mail", str(error), "docs/mail.md")
    else:
        yield Finding(OK, "mail", f"{where} answers")


def _check_issuer(services: Services) -> Findings:
    issuer = services.settings.issuer
    try:
        with urllib.request.urlopen(  # noqa: S310  # settings let http and https pass, nothing else
            f"{issuer}/.well-known/openid-configuration", timeout=policy.DOCTOR_WAIT.total_seconds()
        ) as answer:
            said = json.loads(answer.read(_ANSWER_MAX)).get("issuer")
    except (urllib.error.URLError, TimeoutError, OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "reason", error)
        yield Finding(
            WARN,
            "issuer",
            f"cannot be reached from here: {type(reason).__name__}",
            "is a server up, the name in the DNS, the proxy's certificate good?",
        )
        return
    if said == issuer:
        yield Finding(OK, "issuer", "answers under its own name")
    else:
        yield Finding(
            FAIL, "issuer", "another provider answers there", "IDP_ISSUER must be the address that people use"
        )


# -- how it is said --------------------------------------------------------------------------------------------------


def _settings(services: Services) -> list[dict[str, str]]:
    """Every setting with where it came from, secrets masked (contract.md section 3)."""
    written = dotenv_values(Path.cwd() / ".env")
    rows = []
    for each in fields(services.settings):
        name, value = f"IDP_{each.name.upper()}", getattr(services.settings, each.name)
        origin = "environment" if name in os.environ else ".env" if name in written else "default"
        rows.append({"name": name, "value": _shown(value, secret=bool(each.metadata.get("secret"))), "origin": origin})
    return rows


def _shown(value: Any, *, secret: bool) -> str:
    if secret and value:
        return "********"
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _report(findings: list[Finding], settings: list[dict[str, str]], as_json: bool) -> None:
    failed = any(finding.level == FAIL for finding in findings)
    if as_json:
        rows = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"healthy": not failed, "findings": rows, "settings": settings}, indent=2))
    else:
        for row in settings:
            click.echo(f"      {row['name']}={row['value']}  ({row['origin']})")
        for finding in findings:
            click.echo(f"{finding.level:<5} {finding.part:<9} {finding.text}")
            if finding.remedy:
                click.echo(f"{'':<15} -> {finding.remedy}")
    raise SystemExit(1 if failed else 0)


def _sqlite_path(services: Services) -> Path | None:
    url = services.store.engine.url
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _is_local(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}
