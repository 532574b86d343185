"""`idp keys`."""

import click

from idp import audit
from idp.cli.terminal import json_option, now, open_services, show
from idp.keys import ALGORITHMS


@click.group()
def keys() -> None:
    """Signing keys."""


@keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """Every published key and its state."""
    show(
        [
            {
                "kid": key.kid,
                "alg": key.alg,
                "state": key.state,
                "signs_from": key.signs_from.isoformat(),
                "published_until": None if key.published_until is None else key.published_until.isoformat(),
            }
            for key in open_services().keys.describe(now())
        ],
        as_json,
    )


@keys.command()
@click.option("--now", "at_once", is_flag=True, help="Sign with the new keys at once.")
@click.option("--alg", "algorithms", type=click.Choice(ALGORITHMS), multiple=True, help="Only the key of this one.")
def rotate(at_once: bool, algorithms: tuple[str, ...]) -> None:
    """Publish a next key, which signs after one JWKS cache lifetime."""
    services, moment = open_services(), now()
    made = services.keys.rotate(moment, at_once=at_once, algorithms=algorithms or ALGORITHMS)
    if not made:
        click.echo("a next key is waiting already; nothing changed")
        return
    with services.store.write() as tx:
        audit.record(tx, audit.Event.KEY_ROTATE, now=moment, detail={"kids": made})
    for kid in made:
        click.echo(kid)


# A thumbprint may begin with a hyphen.
@keys.command(context_settings={"ignore_unknown_options": True})
@click.argument("kid")
def retire(kid: str) -> None:
    """Stop trusting a key at once."""
    services, moment = open_services(), now()
    services.keys.retire(kid, moment)
    with services.store.write() as tx:
        audit.record(tx, audit.Event.KEY_RETIRE, now=moment, detail={"kid": kid})
    click.echo(f"retired {kid}")
