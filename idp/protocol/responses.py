"""Authorization responses: query, fragment, form_post; success and error alike (OAuth Multiple Response Types)."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from idp.protocol.clients import Client
from idp.protocol.messages import ProtocolResponse, with_parameters


@dataclass(frozen=True, slots=True)
class FormPost:
    """A page whose form brings the parameters to the client (OAuth 2.0 Form Post Response Mode)."""

    redirect_uri: str
    parameters: Mapping[str, str]


Answer = ProtocolResponse | FormPost


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the answer to a request goes: an address that was verified, in one mode, with the client's `state`."""

    redirect_uri: str
    response_mode: str
    state: str | None


def has_front_channel_token(response_type: str) -> bool:
    """Whether the answer itself carries a token, which never stands in a query (Multiple Response Types section 5)."""
    return not {"token", "id_token"}.isdisjoint(response_type.split())


def choose_response_mode(client: Client, response_type: str, asked: str | None) -> str:
    """The mode of the answer: the one asked for where it can be served, else what the response type implies.

    Errors go the same way as success (OIDC Core sections 3.1.2.6, 3.2.2.6 and 3.3.2.6), whatever is wrong with the
    request; the response type may be none of ours.
    """
    front = has_front_channel_token(response_type)
    if asked is not None and is_response_mode_served(client, response_type, asked):
        return asked
    return "fragment" if front and client.allows_response_mode("fragment") else "query"


def is_response_mode_served(client: Client, response_type: str, mode: str) -> bool:
    """Whether this client may have the answer to this response type in this mode."""
    if mode == "query" and has_front_channel_token(response_type):
        return False
    return client.allows_response_mode(mode)


def respond(reply_to: ReplyTo, parameters: Mapping[str, str | None], *, issuer: str) -> Answer:
    """The answer with `parameters`, those that are not None, and with `state` and `iss`."""
    # RFC 9207 section 2: every answer, errors too, says who gives it (P-6).
    found = {**parameters, "state": reply_to.state, "iss": issuer}
    sent = {name: value for name, value in found.items() if value is not None}
    if reply_to.response_mode == "form_post":
        return FormPost(reply_to.redirect_uri, sent)
    if reply_to.response_mode == "fragment":
        # No registered address has a fragment (RFC 6749 section 3.1.2).
        location = f"{reply_to.redirect_uri}#{urlencode(sent)}"
    else:
        location = with_parameters(reply_to.redirect_uri, sent)
    # 303: whoever follows it after a form must not post the form again (P-13).
    return ProtocolResponse(status=303, location=location)
