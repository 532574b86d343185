"""`idp account`."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from idp.accounts.attempts import Attempt
from idp.accounts.directory import AccountView, Directory
from idp.accounts.usernames import parse_username
from idp.cli.terminal import fail, json_option, now, open_services, show


@click.group()
def account() -> None:
    """People."""


def _read_secrets(wanted: Iterable[str]) -> list[str | None]:
    """One line of stdin for each name that is wanted, in order."""
    found: list[str | None] = []
    for name in wanted:
        line = sys.stdin.readline()
        if not line:
            raise click.UsageError(f"stdin ended before the {name}")
        found.append(line.rstrip("\r\n"))
    return found


def _read_instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError("--password-changed-at is no ISO 8601 instant") from error
    if instant.tzinfo is None:
        raise click.UsageError("--password-changed-at needs an offset, such as Z or -06:00")
    return instant


@account.command("add")
@click.argument("username")
@click.option("--email", required=True)
@click.option("--name")
@click.option("--organization", "organization_rfc", metavar="RFC")
@click.option("--role", type=click.Choice(["support", "auditor", "admin"]))
@click.option("--locale", type=click.Choice(["es-MX", "en"]), default="es-MX", show_default=True)
@click.option("--claims", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Further claims, JSON.")
@click.option("--password-stdin", is_flag=True)
@click.option("--active", is_flag=True)
@click.option("--question", metavar="KEY")
@click.option("--answer-stdin", is_flag=True)
@click.option("--password-changed-at", metavar="ISO", help="When the password was chosen, elsewhere; with an offset.")
@json_option
def add_account(
    username: str,
    email: str,
    name: str | None,
    organization_rfc: str | None,
    role: str | None,
    locale: str,
    claims: Path | None,
    password_stdin: bool,
    active: bool,
    question: str | None,
    answer_stdin: bool,
    password_changed_at: str | None,
    as_json: bool,
) -> None:
    """Make an account. Without a password it is invited; with --password-stdin --active it is ready at once."""
    changed_at = None if password_changed_at is None else _read_instant(password_changed_at)
    if password_stdin != active:
        raise click.UsageError("--password-stdin and --active go together")
    if answer_stdin != (question is not None):
        raise click.UsageError("--question and --answer-stdin go together")
    wanted = [word for word, is_wanted in (("password", password_stdin), ("answer", answer_stdin)) if is_wanted]
    secrets = dict(zip(wanted, _read_secrets(wanted), strict=True))
    try:
        further = {} if claims is None else json.loads(claims.read_text("utf-8"))
    except ValueError as error:
        raise click.UsageError("--claims holds no JSON") from error
    if not isinstance(further, dict):
        raise click.UsageError("--claims holds no JSON object")
    services = open_services()
    person = services.lifecycle.create(
        username,
        email=email,
        name=name,
        organization_rfc=organization_rfc,
        role=role,
        claims=further,
        locale=locale,
        now=now(),
        password=secrets.get("password"),
        question=question,
        answer=secrets.get("answer"),
        password_changed_at=changed_at,
    )
    show({"username": person.username, "sub": person.account_id, "state": "active" if active else "invited"}, as_json)


@account.command("show")
@click.argument("username")
@json_option
def show_account(username: str, as_json: bool) -> None:
    """One account: never a password, never an answer."""
    view = open_services().directory.find(username, now())
    if view is None:
        fail("no account has this username")
    show(asdict(view), as_json)


def _every(directory: Directory) -> Iterator[AccountView]:
    """Every account, page by page."""
    after: str | None = None
    while page := directory.list(now(), after=after):
        yield from page
        after = page[-1].username


@account.command("list")
@json_option
def list_accounts(as_json: bool) -> None:
    """Every account."""
    show([asdict(view) for view in _every(open_services().directory)], as_json)


@account.command("invite")
@click.argument("username")
def invite(username: str) -> None:
    """Send an invited person the mail again."""
    open_services().lifecycle.invite(username, now())
    click.echo("invited")


@account.command("reset")
@click.argument("username")
def reset(username: str) -> None:
    """Mail a person the link to choose a new password; nobody else chooses it."""
    services, moment = open_services(), now()
    view = services.directory.find(username, moment)
    if view is None:
        fail("no account has this username")
    if view.state == "disabled":
        fail("the account is disabled: idp account enable")
    services.recovery.send_reminder(parse_username(view.username), attempt=Attempt(), now=moment)
    click.echo("a link goes to the registered address, unless one went there a few minutes ago")


@account.command("unlock")
@click.argument("username")
def unlock(username: str) -> None:
    """End a lock."""
    open_services().lifecycle.unlock(username, now())
    click.echo("unlocked")


@account.command("disable")
@click.argument("username")
def disable(username: str) -> None:
    """Close an account: its sessions and tokens end at once."""
    open_services().lifecycle.disable(username, now())
    click.echo("disabled")


@account.command("enable")
@click.argument("username")
def enable(username: str) -> None:
    """Open a disabled account again."""
    open_services().lifecycle.enable(username, now())
    click.echo("enabled")
