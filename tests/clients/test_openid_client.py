"""npm openid-client, newest, signs in unchanged."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import POST_LOGOUT_REDIRECT_URI, REDIRECT_URI, SCOPE, House
from tests.journeys import Person, parameters, read
from tests.serving import clean_environment

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is missing: install it with `apt-get install nodejs npm`")
    if not (FOLDER / "node_modules" / "openid-client").is_dir():
        pytest.skip("openid-client is missing: install it with `npm ci --prefix tests/clients`")
    return found


class Script:
    """The JavaScript side: takes and gives one JSON value a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def tell(self, value: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self._process.communicate(timeout=10)[1])
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def script(node: str) -> Iterator[Script]:
    with subprocess.Popen(
        [node, str(FOLDER / "openid_client.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment({}),
    ) as process:
        try:
            yield Script(process)
        finally:
            process.kill()


@pytest.mark.spec("P-6")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post", "none"])
def test_openid_client_walks_from_discovery_to_sign_out(house: House, node: str, auth: str) -> None:
    client = house.register(auth)
    person = Person(house.provider.issuer)
    with script(node) as relying_party:
        asked = relying_party.tell(
            {
                "issuer": house.provider.issuer,
                "client_id": client.client_id,
                "client_secret": client.client_secret,
                "auth": auth,
                "redirect_uri": REDIRECT_URI,
                "post_logout_redirect_uri": POST_LOGOUT_REDIRECT_URI,
                "scope": SCOPE,
            }
        )
        callback = person.authorize(asked["authorization_url"], house.username, house.password)
        assert callback.startswith(REDIRECT_URI + "?")
        told = relying_party.tell({"callback": callback})

    # The library itself has checked the signature, `iss`, `aud`, `exp`, `nonce`, `auth_time` and userinfo's `sub`.
    assert told["foreign_issuer"]["code"] == "OAUTH_INVALID_RESPONSE"
    assert told["missing_issuer"]["code"] == "OAUTH_INVALID_RESPONSE"
    assert told["claims"]["iss"] == house.provider.issuer
    assert {"auth_time", "acr", "amr", "sid"} <= told["claims"].keys()
    assert told["userinfo"]["rfc"] == house.username
    assert told["userinfo"]["account_kind"] == "client"
    assert told["userinfo"]["mailbox"]["rfc"] == house.username
    assert 1 <= told["expires_in"] <= 300
    assert told["scope"].split() == SCOPE.split()
    assert told["renewed"]
    assert told["after_revocation"]["error"] == "invalid_grant"
    if auth != "none":
        assert told["introspected"]["active"] is True
        assert told["introspected"]["client_id"] == client.client_id
    assert_signs_out(person, told["end_session_url"])


def assert_signs_out(person: Person, end_session_url: str) -> None:
    """The person is sent back to the client with its `state`, asked first or not, and nobody is signed in any more."""
    response = person.open(end_session_url)
    if not response.is_redirect:
        page = read(response)
        response = person.submit(page, "form-signout") if "form-signout" in page.forms else response
    if response.is_redirect:
        assert response.headers["Location"].split("?")[0] == POST_LOGOUT_REDIRECT_URI
        assert parameters(response.headers["Location"]) == {"state": "hasta-luego"}
    else:
        assert read(response).screen == "signed-out"
    assert read(person.open(person.issuer + "/login")).screen == "signin"
