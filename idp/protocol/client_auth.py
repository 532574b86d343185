"""Client authentication at the machine endpoints: basic, post, none (RFC 6749 section 2.3)."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import unquote_plus

from idp.protocol.clients import Client, Clients
from idp.protocol.errors import InvalidClient
from idp.protocol.messages import ProtocolRequest

_REFUSED = "Client authentication failed."
SECRET_LENGTH_MAX = 1024
"""Characters; ours have 43."""


def authenticate_client(request: ProtocolRequest, form: Mapping[str, str], clients: Clients) -> Client:
    """The client that proved who it is, by the one method it registered (P-10).

    `InvalidClient` for everything else, in the same words: no client, unknown client, wrong secret, another method
    than the registered one, two methods at once.
    """
    method, client_id, secret = _presented(request, form)
    client = clients.find(client_id)
    if client is None or client.token_endpoint_auth_method != method:
        raise InvalidClient(_REFUSED)
    if method != "none" and not client.has_secret(secret):
        raise InvalidClient(_REFUSED)
    return client


def _presented(request: ProtocolRequest, form: Mapping[str, str]) -> tuple[str, str, str]:
    """Method, client id and secret as presented."""
    in_form = form.get("client_secret")
    if request.authorization is not None:
        client_id, secret = _read_basic(request.authorization)
        # RFC 6749 section 2.3: "The client MUST NOT use more than one authentication method in each request."
        if in_form is not None or form.get("client_id", client_id) != client_id:
            raise InvalidClient(_REFUSED)
        return "client_secret_basic", client_id, secret
    client_id = form.get("client_id", "")
    if not client_id:
        raise InvalidClient(_REFUSED)
    if in_form is None:
        return "none", client_id, ""
    if len(in_form) > SECRET_LENGTH_MAX:
        raise InvalidClient(_REFUSED)
    return "client_secret_post", client_id, in_form


def _read_basic(header: str) -> tuple[str, str]:
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic" or len(credentials) > 2 * SECRET_LENGTH_MAX:
        raise InvalidClient(_REFUSED)
    try:
        text = b64decode(credentials.strip(), validate=True).decode("utf-8")
        client_id, separator, secret = text.partition(":")
        # RFC 6749 section 2.3.1: both are form-urlencoded before they are joined.
        client_id = unquote_plus(client_id, errors="strict")
        secret = unquote_plus(secret, errors="strict")
    except (binascii.Error, ValueError) as error:
        raise InvalidClient(_REFUSED) from error
    if not separator or not client_id or not secret:
        raise InvalidClient(_REFUSED)
    return client_id, secret
