"""Whatever bytes come to the authorization endpoint: a page, a wait, or a client's own address, and never a failure."""

from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.test_authorize_endpoint import ISSUER, House, house

__all__ = ["house"]

OURS = frozenset({"/login", "/consent", "/oauth/authorize"})
NAMES = (
    *("response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce", "prompt", "max_age"),
    *("display", "ui_locales", "id_token_hint", "login_hint", "acr_values", "claims", "request", "request_uri"),
    *("registration", "resource", "code_challenge", "code_challenge_method", "interaction", "posted"),
)
# Of a query: what a person's browser may send on the wire is ASCII without spaces; a script may send any byte.
RAW = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60) | st.binary(max_size=40).map(
    lambda raw: raw.decode("latin-1")
)


@pytest.mark.spec("P-16", "P-2")
@given(
    changes=st.dictionaries(st.sampled_from(NAMES), st.text(max_size=20), max_size=4),
    raw=RAW,
    client=st.sampled_from(["one", "two", "old"]),
    method=st.sampled_from(["GET", "POST", "both"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_any_bytes_get_an_answer_and_lead_nowhere_else(
    house: House,
    changes: dict[str, str],
    raw: str,
    client: str,
    method: str,
) -> None:
    asked = urlencode(house.parameters(client) | changes, errors="replace") + "&" + raw
    browser = house.app.test_client()
    query = asked if method != "POST" else ""
    response = browser.open(
        "/oauth/authorize",
        base_url=ISSUER,
        method="GET" if method == "GET" else "POST",
        environ_overrides={"QUERY_STRING": query},
        data=asked.encode("latin-1") if method != "GET" else None,
        content_type="application/x-www-form-urlencoded" if method != "GET" else None,
    )
    assert response.status_code in {200, 303, 400}, response.text
    location = response.headers.get("Location")
    assert (location is not None) == (response.status_code == 303)
    if location is not None:
        assert location.isascii()
        assert location.isprintable()
        parts = urlsplit(location)
        place = f"{parts.scheme}://{parts.netloc}{parts.path}"
        assert place in {f"https://{each}.example/cb" for each in house.ids} or (
            parts.netloc in {"", urlsplit(ISSUER).netloc} and parts.path in OURS
        )
