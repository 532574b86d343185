"""mozilla-django-oidc signs in, asks again, and signs out, unchanged."""

import sys
import time
from collections.abc import Iterator

import pytest

from tests.clients.conftest import House, Traveller, application
from tests.journeys import read
from tests.serving import clean_environment, free_port

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]
EMAIL = "persona@cliente.example"


@pytest.fixture(scope="module")
def site(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Django site that asks the provider again after a second."""
    folder = tmp_path_factory.mktemp("django")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    client = house.register(
        "client_secret_basic", redirect_uri=f"{url}/oidc/callback/", post_logout_redirect_uri=f"{url}/adios"
    )
    environment = {
        "SITE_URL": url,
        "SITE_FOLDER": str(folder),
        "SITE_ISSUER": house.provider.issuer,
        "SITE_CLIENT_ID": client.client_id,
        "SITE_CLIENT_SECRET": client.client_secret,
        "SITE_RENEW_AFTER": "1",
    }
    command = [
        *(sys.executable, "-m", "granian", "tests.clients.django_site:application", "--interface", "wsgi"),
        *("--host", "127.0.0.1", "--port", str(port), "--no-ws", "--log-level", "warning"),
    ]
    with application(command, folder, clean_environment(environment), f"{url}/health"):
        yield url


@pytest.mark.spec("P-8")
def test_django_site_signs_in_asks_again_and_signs_out(house: House, site: str) -> None:
    person = Traveller(house.provider.issuer)
    assert person.open(site).json() == {"email": None}
    arrived = person.sign_in(person.open(f"{site}/oidc/authenticate/"), house)
    assert arrived.url == f"{site}/"
    assert arrived.json() == {"email": EMAIL}

    # SessionRefresh: the page goes to the provider with `prompt=none` and comes back without a question.
    time.sleep(1.1)
    again = person.http.get(site, allow_redirects=False, timeout=30)
    assert "prompt=none" in again.headers["Location"]
    assert person.follow(again).json() == {"email": EMAIL}

    gone = person.submit(read(person.open(f"{site}/salir")), "form-out")
    assert gone.url == f"{site}/adios"
    assert person.open(site).json() == {"email": None}
    assert not person.is_signed_in()


@pytest.mark.spec("P-8")
def test_django_site_notices_a_sign_out_elsewhere(house: House, site: str) -> None:
    person = Traveller(house.provider.issuer)
    assert person.sign_in(person.open(f"{site}/oidc/authenticate/"), house).json() == {"email": EMAIL}
    page = read(person.open(f"{house.provider.issuer}/oauth/logout"))
    assert read(person.submit(page, "form-signout")).screen == "signed-out"
    time.sleep(1.1)
    assert person.open(site).json() == {"email": None}
