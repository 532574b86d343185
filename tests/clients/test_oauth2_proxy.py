"""oauth2-proxy signs in, refreshes, and signs out, unchanged."""

import base64
import secrets
import shutil
import time
from collections.abc import Iterator

import pytest

from tests.clients.conftest import House, Traveller, application
from tests.serving import free_port

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]


@pytest.fixture(scope="module")
def proxy(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a proxy before a folder of files, which renews its session after a second."""
    program = shutil.which("oauth2-proxy")
    if program is None:
        pytest.skip("optional: oauth2-proxy is missing, which tools/test-parts builds where there is Go")
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "index.html").write_text("facturas")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    client = house.register(
        "client_secret_basic", redirect_uri=f"{url}/oauth2/callback", post_logout_redirect_uri=f"{url}/ping"
    )
    settings = {
        "provider": "oidc",
        "oidc-issuer-url": house.provider.issuer,
        "client-id": client.client_id,
        "client-secret": client.client_secret,
        "redirect-url": f"{url}/oauth2/callback",
        "scope": "openid email offline_access",
        "code-challenge-method": "S256",
        "email-domain": "*",
        "http-address": f"127.0.0.1:{port}",
        "upstream": f"file://{folder}/#/",
        "cookie-secret": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "cookie-secure": "false",
        "cookie-refresh": "1s",
        "skip-provider-button": "true",
        # A mailbox nobody has verified yet is still the person's own.
        "insecure-oidc-allow-unverified-email": "true",
        "whitelist-domain": house.provider.issuer.removeprefix("http://"),
        "backend-logout-url": f"{house.provider.issuer}/oauth/logout?id_token_hint={{id_token}}",
    }
    command = [program, *(f"--{name}={value}" for name, value in settings.items())]
    with application(command, folder, {"PATH": "/usr/bin:/bin"}, f"{url}/ping"):
        yield url


def test_proxy_signs_in_refreshes_and_signs_out(house: House, proxy: str) -> None:
    person = Traveller(house.provider.issuer)
    arrived = person.sign_in(person.open(f"{proxy}/index.html"), house)
    assert arrived.text == "facturas"
    assert person.open(f"{proxy}/oauth2/userinfo").json()["email"] == "persona@cliente.example"

    refreshes = house.provider.count_audit("client:token:refresh")
    time.sleep(2.1)  # --cookie-refresh counts whole seconds
    assert person.open(f"{proxy}/index.html").text == "facturas"
    assert house.provider.count_audit("client:token:refresh") == refreshes + 1

    gone = person.http.get(f"{proxy}/oauth2/sign_out", allow_redirects=False, timeout=30)
    assert gone.status_code == 302
    assert (
        person.http.get(f"{proxy}/index.html", allow_redirects=False, timeout=30)
        .headers["Location"]
        .startswith(house.provider.issuer)
    )
