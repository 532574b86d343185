"""`/styleguide`: all components on loopback, nothing in production."""

import pytest

from idp.blueprints import styleguide
from idp.settings import Settings
from tests.web.conftest import SECRET, Visitor, build


def guide(issuer: str) -> Visitor:
    app = build(Settings(secret_key=SECRET, issuer=issuer))
    app.register_blueprint(styleguide.blueprint)
    return Visitor(app)


@pytest.mark.parametrize(
    ("group", "shown"),
    [
        ("sheet", ["rules", "change_question", "summary"]),
        ("signin", ["username", "password"]),
        ("account", ["expiry", "next-step", "older"]),
    ],
)
def test_every_group_shows_its_components(group: str, shown: list[str]) -> None:
    page = guide("http://localhost:5000").get(f"/styleguide/{group}")
    assert page.status == 200
    assert set(shown) <= page.ids


@pytest.mark.parametrize(
    ("issuer", "address", "status"),
    [
        ("http://localhost:5000", "/styleguide", 200),
        ("https://id.example", "/styleguide", 404),
        ("https://id.example", "/styleguide/account", 404),
        ("http://localhost:5000", "/styleguide/other", 404),
    ],
)
def test_it_is_there_on_loopback_only(issuer: str, address: str, status: int) -> None:
    assert guide(issuer).get(address).status == status
