"""Any mix of parameters, by any way: an answer, a page to wait at, or a registered error."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idp.protocol.authorize import NeedsConsent, NeedsSignIn, Posted
from idp.protocol.details import ClientDetails
from idp.protocol.errors import OAuth2Error
from idp.protocol.messages import ProtocolRequest
from idp.protocol.profiles import PROFILES
from idp.protocol.responses import FormPost
from tests.protocol.conftest import CHALLENGE, ISSUER, REDIRECT_URI, House, answer

TYPES = tuple(sorted(PROFILES["compat"].response_types))
PARAMETERS = {
    "response_type": (*TYPES, "none", "token", "token code"),
    "response_mode": ("query", "fragment", "form_post", "jwt"),
    "scope": ("openid", "profile", "openid offline_access mailbox:read", "x"),
    "state": ("s", "\r\n", "\x00"),
    "nonce": ("n",),
    "prompt": ("none", "login", "consent", "select_account", "create", "login consent", "none login", "x"),
    "max_age": ("0", "9999", "-1", "1e3", "٣"),
    "display": ("page",),
    "ui_locales": ("es-MX",),
    "id_token_hint": ("e30.e30.e30",),
    "login_hint": ("EKU9003173C9",),
    "acr_values": ("1", "9"),
    "claims": (
        '{"userinfo":{"email":null}}',
        '{"id_token":{"acr":{"essential":true,"value":"9"}}}',
        '{"id_token":{"sub":{"value":"x"}}}',
        '{"id_token":[]}',
        "[" * 5000,
    ),
    "request": ("eyJhbGciOiJub25lIn0.e30.", "e30.e30.e30", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"),
    "request_uri": ("urn:ietf:params:oauth:request_uri:" + "x" * 43, "https://evil.example/"),
    "registration": ("{}",),
    "resource": ("https://evil.example/",),
    "code_challenge": (CHALLENGE, "x"),
    "code_challenge_method": ("S256", "plain"),
    "redirect_uri": ("https://evil.example/cb", REDIRECT_URI + "/", "https://app.example@evil.example/cb"),
}
REGISTERED = frozenset(
    {
        *("invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope"),
        *("login_required", "consent_required", "invalid_request_object", "invalid_request_uri"),
        *("request_not_supported", "request_uri_not_supported", "registration_not_supported"),
        *("invalid_target", "unmet_authentication_requirements"),
    }
)
ANYTHING = st.fixed_dictionaries(
    {},
    optional={name: st.none() | st.sampled_from(values) | st.text(max_size=20) for name, values in PARAMETERS.items()},
)


@pytest.mark.spec("P-16", "P-2")
@given(
    changes=ANYTHING,
    profile=st.sampled_from(["modern", "compat", "asked"]),
    way=st.sampled_from(["begin", "receive", "push"]),
    signed_in=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=250, deadline=None)
def test_any_mix_of_parameters_gives_an_answer_a_wait_or_a_registered_error(
    house: House, changes: dict[str, str | None], profile: str, way: str, signed_in: bool
) -> None:
    clients = {each.client_name: each for each in house.server.clients.list()}
    if not clients:
        everything = {
            "grant_types": ("authorization_code", "implicit", "refresh_token"),
            "response_types": TYPES,
            "details": ClientDetails(response_modes=("form_post",)),
        }
        clients = {
            "modern": house.client("modern"),
            "compat": house.client("compat", profile="compat", **everything),
            "asked": house.client("asked", profile="compat", first_party=False, **everything),
        }
    client = clients[profile]
    safe = {
        name: None if value is None else value.encode("utf-8", "replace").decode() for name, value in changes.items()
    }
    query = house.query(client, **safe)
    if way == "push":
        form = f"{query}&client_secret={house.secrets[client.client_id]}"
        response = house.server.par(ProtocolRequest("POST", form=form.encode()), house.now)
        assert response.body is not None
        if response.status != 201:
            assert (response.status, response.body["error"] in REGISTERED) == (400, True)
            return
        query = urlencode({"client_id": client.client_id, "request_uri": response.body["request_uri"]})
    try:
        if way == "receive":
            received = house.server.authorizations.receive("", query.encode(), house.now)
            decision: Any = house.authorize_posted(received.handle) if isinstance(received, Posted) else received
        else:
            decision = house.authorize(query, signed_in=signed_in)
    except OAuth2Error as error:
        assert error.reply_to is None
        assert error.error in REGISTERED
        return
    if isinstance(decision, NeedsSignIn | NeedsConsent):
        return
    sent = answer(decision)
    if isinstance(decision, FormPost):
        assert decision.redirect_uri == REDIRECT_URI
    else:
        assert decision.location.startswith((REDIRECT_URI + "?", REDIRECT_URI + "#"))
        assert decision.location.isascii()
        assert decision.location.isprintable()
        in_query = dict(parse_qsl(urlsplit(decision.location).query))
        assert not {"id_token", "access_token"} & set(in_query)
    assert sent["iss"] == ISSUER
    if "error" in sent:
        assert sent["error"] in REGISTERED
        assert not {"code", "id_token", "access_token"} & set(sent)
    else:
        assert {"code", "id_token", "access_token"} & set(sent)
