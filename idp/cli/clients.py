"""`idp client`."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import IO, Any

import click

from idp.cli.terminal import json_option, now, open_services, show
from idp.policy import REGISTRATION_TOKEN_LIFETIME, REGISTRATION_TOKEN_USES_MAX
from idp.protocol.clients import Client, Registration
from idp.protocol.details import ClientDetails
from idp.protocol.errors import ClientProblem
from idp.protocol.key_sets import clean_key_set
from idp.wiring import Services

AUTH_METHODS = {
    "basic": "client_secret_basic",
    "post": "client_secret_post",
    "none": "none",
    "private_key_jwt": "private_key_jwt",
    "client_secret_jwt": "client_secret_jwt",
}
_DETAILS = {each.name for each in fields(ClientDetails)}


@click.group()
def client() -> None:
    """Relying parties."""


def _many(name: str, field: str, metavar: str, text: str | None = None) -> Callable[[Any], Any]:
    return click.option(name, field, multiple=True, metavar=metavar, help=text)


def _one(name: str, metavar: str, text: str | None = None, field: str | None = None) -> Callable[[Any], Any]:
    return click.option(name, field or name.removeprefix("--").replace("-", "_"), metavar=metavar, help=text)


def _flag(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"{name}/--no-{name.removeprefix('--')}", default=None, help=text)


_CLIENT_OPTIONS = (
    _many("--redirect-uri", "redirect_uris", "URI"),
    _many("--post-logout-redirect-uri", "post_logout_redirect_uris", "URI"),
    _one("--backchannel-logout-uri", "URI", "Where we tell that a session ended."),
    _flag("--backchannel-logout-session-required", "Its logout tokens carry sid."),
    _one("--frontchannel-logout-uri", "URI", "A page of it that our sign-out page loads."),
    _flag("--frontchannel-logout-session-required", "That page gets iss and sid."),
    _many("--scope", "scopes", "S", "May be repeated, or hold several by spaces."),
    _many("--grant", "grant_types", "G"),
    _many("--response-type", "response_types", "T", 'For compat, such as "code id_token".'),
    _many("--response-mode", "response_modes", "M", "For compat: form_post, beside what the profile gives."),
    _many("--resource", "resources", "URI", "An audience it may ask for."),
    click.option("--profile", type=click.Choice(["modern", "compat", "fapi2"])),
    click.option("--application-type", type=click.Choice(["web", "native"])),
    click.option("--auth", "token_endpoint_auth_method", type=click.Choice(list(AUTH_METHODS))),
    _one("--auth-alg", "ALG", "The one algorithm of its assertions.", "token_endpoint_auth_signing_alg"),
    click.option("--jwks", type=click.File("rb"), help="A file with its public keys, a JWK Set."),
    _one("--jwks-uri", "URI", "Where its public keys stand instead."),
    _one("--id-token-alg", "ALG", "What its ID tokens are signed with.", "id_token_signed_response_alg"),
    _one("--id-token-encryption", "ALG", "Encrypt its ID tokens to its key.", "id_token_encrypted_response_alg"),
    _one("--id-token-encryption-enc", "ENC", None, "id_token_encrypted_response_enc"),
    _one("--userinfo-alg", "ALG", "Sign what userinfo answers.", "userinfo_signed_response_alg"),
    _one("--userinfo-encryption", "ALG", "Encrypt what userinfo answers.", "userinfo_encrypted_response_alg"),
    _one("--userinfo-encryption-enc", "ENC", None, "userinfo_encrypted_response_enc"),
    _one("--request-object-alg", "ALG", "The one algorithm of its request objects.", "request_object_signing_alg"),
    _flag("--require-signed-request-object", "Refuse requests that are not signed (RFC 9101)."),
    _flag("--require-par", "Refuse requests that were not pushed (RFC 9126)."),
    click.option("--subject-type", type=click.Choice(["public", "pairwise"])),
    _one("--sector-identifier-uri", "URI", "Lists the redirect URIs that share pairwise subjects."),
    click.option("--default-max-age", type=click.IntRange(0), metavar="SECONDS"),
    _flag("--require-auth-time", "ID tokens always carry auth_time."),
    _many("--default-acr", "default_acr_values", "ACR"),
    _one("--initiate-login-uri", "URI", "Where a sign-in that begins elsewhere is sent."),
    _one("--client-uri", "URI", "Its home page."),
    _one("--logo-uri", "URI", "Its logo: fetched now, drawn anew, served by us."),
    _one("--policy-uri", "URI", "Its privacy notice, linked at consent."),
    _one("--tos-uri", "URI", "Its terms, linked at consent."),
    _many("--contact", "contacts", "EMAIL"),
    _one("--organization", "RFC", "Bind it to a company.", "organization_rfc"),
    click.option("--retention-days", type=click.IntRange(1), metavar="N", help="A window narrower than ours."),
    _flag("--first-party", "Skip consent."),
)


def _client_options(command: Any) -> Any:
    for option in reversed(_CLIENT_OPTIONS):
        command = option(command)
    return command


def _changes(options: dict[str, Any], before: Registration) -> dict[str, Any]:
    """What was given on the command line, in the words of `Registration`."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "scopes" in given:
        given["scopes"] = tuple(dict.fromkeys(scope for value in given["scopes"] for scope in value.split()))
    if "token_endpoint_auth_method" in given:
        given["token_endpoint_auth_method"] = AUTH_METHODS[given["token_endpoint_auth_method"]]
    if "response_types" in given and "grant_types" not in given:
        given["grant_types"] = _grants_for(given["response_types"], before.grant_types)
    if "require_par" in given:
        given["require_pushed_authorization_requests"] = given.pop("require_par")
    if "jwks" in given:
        given["jwks"] = _read_key_set(given["jwks"])
    for kind in ("id_token", "userinfo"):
        if f"{kind}_encrypted_response_alg" in given:
            given.setdefault(f"{kind}_encrypted_response_enc", "A128CBC-HS256")
    details = {name: given.pop(name) for name in list(given) if name in _DETAILS}
    if "jwks" in details:
        details.setdefault("jwks_uri", None)
    if "jwks_uri" in details and details["jwks_uri"] is not None:
        details.setdefault("jwks", None)
    return {**given, "details": replace(before.details, **details)} if details else given


def _grants_for(response_types: tuple[str, ...], before: tuple[str, ...]) -> tuple[str, ...]:
    """The grants that these response types need (OIDC Registration section 2), beside the others it has."""
    words = {word for each in response_types for word in each.split()}
    needed = {"authorization_code": "code" in words, "implicit": bool(words & {"id_token", "token"})}
    others = tuple(grant for grant in before if grant not in needed)
    return tuple(grant for grant, is_needed in needed.items() if is_needed) + others


def _read_key_set(file: IO[bytes]) -> dict[str, Any]:
    try:
        return clean_key_set(json.load(file))
    except ValueError as error:
        raise ClientProblem(f"--jwks: {error}") from error


def _client_view(client: Client) -> dict[str, Any]:
    ends, previous = client.client_secret_expires_at, client.previous_secret_expires_at
    return {
        "client_id": client.client_id,
        "client_name": client.client_name,
        "profile": client.profile.name,
        "first_party": client.first_party,
        "registered_itself": client.registration_token_digest is not None,
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "client_secret_expires_at": None if ends is None else ends.isoformat(),
        "previous_secret_expires_at": None if previous is None else previous.isoformat(),
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "backchannel_logout_uri": client.backchannel_logout_uri,
        "grant_types": sorted(client.grant_types),
        "response_types": sorted(client.response_types),
        "scope": " ".join(client.scopes),
        "resources": list(client.resources),
        "id_token_signed_response_alg": client.id_token_signed_response_alg,
        "organization": client.organization_rfc,
        "retention_days": client.retention_days,
        **client.details.to_json(),
    }


def _check_organization(services: Services, rfc: str | None) -> None:
    if rfc is not None and not services.directory.has_organization(rfc):
        raise ClientProblem("no organisation has this RFC; its client account founds it")


@client.command("add")
@click.argument("name")
@_client_options
@click.option("--secret-expires", type=click.IntRange(1), metavar="DAYS", help="Its secret ends by itself.")
@json_option
def add_client(name: str, as_json: bool, secret_expires: int | None, **options: Any) -> None:
    """Register a relying party. Its secret is printed here and never again."""
    services = open_services()
    values = _changes(options, Registration(client_name=name))
    _check_organization(services, values.get("organization_rfc"))
    moment = now()
    ends = None if secret_expires is None else moment + timedelta(days=secret_expires)
    registrations = services.protocol.registrations
    made, secret = registrations.add(Registration(client_name=name, **values), now=moment, secret_expires_at=ends)
    _show_with_secret(made, secret, as_json)


def _show_with_secret(made: Client, secret: str | None, as_json: bool) -> None:
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
    """Change what is given; the rest stays. A secret that a new method needs is printed here and never again."""
    services = open_services()
    found = services.protocol.clients.find(client_id)
    if found is None:
        raise ClientProblem("no client has this id")
    values = _changes(options, found.registration)
    _check_organization(services, values.get("organization_rfc"))
    changed, secret = services.protocol.registrations.update(client_id, values, now=now())
    _show_with_secret(changed, secret, as_json)


@client.command("remove")
@click.argument("client_id")
def remove_client(client_id: str) -> None:
    """Forget a relying party, and with it every consent and grant."""
    open_services().protocol.clients.remove(client_id, now=now())
    click.echo(f"removed {client_id}")


@client.command("rotate-secret")
@click.argument("client_id")
@click.option("--keep", type=click.IntRange(1), metavar="HOURS", help="The old one lives on that long.")
@click.option("--expires", type=click.IntRange(1), metavar="DAYS", help="The new one ends by itself.")
@json_option
def rotate_secret(client_id: str, as_json: bool, keep: int | None, expires: int | None) -> None:
    """A new secret, printed once; the old one is dead at once, or after --keep."""
    moment = now()
    secret = open_services().protocol.clients.rotate_secret(
        client_id,
        now=moment,
        keep=None if keep is None else timedelta(hours=keep),
        secret_expires_at=None if expires is None else moment + timedelta(days=expires),
    )
    show({"client_id": client_id, "client_secret": secret}, as_json)


@client.command("registration-token")
@click.option("--uses", type=click.IntRange(1, REGISTRATION_TOKEN_USES_MAX), default=1, show_default=True, metavar="N")
@click.option(
    "--expires", type=click.IntRange(1), default=REGISTRATION_TOKEN_LIFETIME.days, show_default=True, metavar="DAYS"
)
@json_option
def registration_token(uses: int, expires: int, as_json: bool) -> None:
    """An initial access token for dynamic registration, printed once."""
    moment, lifetime = now(), timedelta(days=expires)
    token = open_services().protocol.registrations.issue_token(now=moment, uses=uses, lifetime=lifetime)
    ends = (moment + lifetime).isoformat(timespec="seconds")
    show({"registration_token": token, "uses": uses, "expires_at": ends}, as_json)
