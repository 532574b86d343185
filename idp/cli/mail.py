"""`idp mail`."""

import click

from idp import audit
from idp.cli.terminal import json_option, now, open_services, show


@click.group()
def mail() -> None:
    """Mails that are waiting, and those that no server took."""


@mail.command()
@json_option
def status(as_json: bool) -> None:
    """How many are waiting, since when, and what the mail server refused for good."""
    found = open_services().outbox.status(now())
    failures = [
        {
            "id": each.id,
            "template": each.template,
            "created_at": each.created_at.isoformat(),
            "failed_at": each.ended_at.isoformat(),
            "attempts": each.attempts,
            "error": each.error,
        }
        for each in found.failures
    ]
    summary = {
        "queued": found.queued,
        "due": found.due,
        "oldest": None if found.oldest is None else found.oldest.isoformat(),
        "error": found.trouble,
        "failed": found.failed,
    }
    if as_json:
        show({**summary, "failures": failures}, as_json)
        return
    show([summary, *failures], as_json)


@mail.command()
@json_option
def retry(as_json: bool) -> None:
    """Try the refused ones again, and those that are waiting for their next try, at once."""
    services, moment = open_services(), now()
    with services.store.write() as tx:
        due = services.outbox.retry(tx, moment)
        audit.record(tx, audit.Event.MAIL_RETRY, now=moment, detail={"messages": due})
    if as_json:
        show({"due": due}, as_json)
        return
    click.echo(f"due now: {due}; the worker sends them")
