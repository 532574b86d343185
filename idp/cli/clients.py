"""`idp client`."""

from typing import Any

import click

from idp.cli.terminal import json_option, now, open_services, show
from idp.protocol.clients import Client, Registration
from idp.protocol.errors import ClientProblem
from idp.wiring import Services

AUTH_METHODS = {"basic": "client_secret_basic", "post": "client_secret_post", "none": "none"}


@click.group()
def client() -> None:
    """Relying parties."""


_CLIENT_OPTIONS = (
    click.option("--redirect-uri", "redirect_uris", multiple=True, metavar="URI"),
    click.option("--post-logout-redirect-uri", "post_logout_redirect_uris", multiple=True, metavar="URI"),
    click.option("--backchannel-logout-uri", metavar="URI"),
    click.option("--scope", "scopes", multiple=True, metavar="S", help="May be repeated, or hold several by spaces."),
    click.option("--grant", "grant_types", multiple=True, metavar="G"),
    click.option("--resource", "resources", multiple=True, metavar="URI", help="An audience it may ask for."),
    click.option("--profile", type=click.Choice(["modern", "compat", "fapi2"])),
    click.option("--auth", "token_endpoint_auth_method", type=click.Choice(list(AUTH_METHODS))),
    click.option("--id-token-alg", "id_token_signed_response_alg", type=click.Choice(["ES256", "RS256"])),
    click.option("--organization", "organization_rfc", metavar="RFC", help="Bind it to a company."),
    click.option("--retention-days", type=click.IntRange(1), metavar="N", help="A window narrower than ours."),
    click.option("--first-party", is_flag=True, default=None, help="Skip consent."),
)


def _client_options(command: Any) -> Any:
    for option in reversed(_CLIENT_OPTIONS):
        command = option(command)
    return command


def _registration_values(options: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line, in the words of `Registration`."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "scopes" in given:
        given["scopes"] = tuple(dict.fromkeys(scope for value in given["scopes"] for scope in value.split()))
    if "token_endpoint_auth_method" in given:
        given["token_endpoint_auth_method"] = AUTH_METHODS[given["token_endpoint_auth_method"]]
    return given


def _client_view(client: Client) -> dict[str, Any]:
    return {
        "client_id": client.client_id,
        "client_name": client.client_name,
        "profile": client.profile.name,
        "first_party": client.first_party,
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "grant_types": sorted(client.grant_types),
        "scope": " ".join(client.scopes),
        "resources": list(client.resources),
        "id_token_signed_response_alg": client.id_token_signed_response_alg,
        "organization": client.organization_rfc,
        "retention_days": client.retention_days,
    }


def _check_organization(services: Services, rfc: str | None) -> None:
    if rfc is not None and not services.directory.has_organization(rfc):
        raise ClientProblem("no organisation has this RFC; its client account founds it")


@client.command("add")
@click.argument("name")
@_client_options
@json_option
def add_client(name: str, as_json: bool, **options: Any) -> None:
    """Register a relying party. Its secret is printed here and never again."""
    services = open_services()
    values = _registration_values(options)
    _check_organization(services, values.get("organization_rfc"))
    made, secret = services.protocol.clients.add(Registration(client_name=name, **values), now=now())
    view = _client_view(made)
    if secret is not None:
        view["client_secret"] = secret
    show(view, as_json)


@client.command("list")
@json_option
def list_clients(as_json: bool) -> None:
    """Every relying party."""
    show([_client_view(each) for each in open_services().protocol.clients.list()], as_json)


@client.command("show")
@click.argument("client_id")
@json_option
def show_client(client_id: str, as_json: bool) -> None:
    """One relying party."""
    found = open_services().protocol.clients.find(client_id)
    if found is None:
        raise ClientProblem("no client has this id")
    show(_client_view(found), as_json)


@client.command("update")
@click.argument("client_id")
@click.option("--name", "client_name")
@_client_options
@json_option
def update_client(client_id: str, as_json: bool, **options: Any) -> None:
    """Change what is given; the rest stays."""
    services = open_services()
    values = _registration_values(options)
    _check_organization(services, values.get("organization_rfc"))
    show(_client_view(services.protocol.clients.update(client_id, values, now=now())), as_json)


@client.command("remove")
@click.argument("client_id")
def remove_client(client_id: str) -> None:
    """Forget a relying party, and with it every consent and grant."""
    open_services().protocol.clients.remove(client_id, now=now())
    click.echo(f"removed {client_id}")


@client.command("rotate-secret")
@click.argument("client_id")
@json_option
def rotate_secret(client_id: str, as_json: bool) -> None:
    """A new secret, printed once; the old one is dead at once."""
    secret = open_services().protocol.clients.rotate_secret(client_id, now=now())
    show({"client_id": client_id, "client_secret": secret}, as_json)
