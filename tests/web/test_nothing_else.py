"""What is served is what is meant to be, and nothing beside it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from idp.app import create_app
from idp.db import Base
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.wiring import Services
from tests.web.conftest import SECRET, Visitor

ISSUER = "https://llave.example"
MEANT = re.compile(
    r"/|/(login|logout|recover|activate|password|consent|device|account)(/.*)?|/request/codedAccess"
    r"|/oauth/(authorize|token|userinfo|jwks|introspect|revoke|par|device_authorization|logout|check_session)"
    r"|/oauth/register(/<client_id>)?|/oauth/logo/.*|/captcha/.*|/health/(live|ready)"
    r"|/\.well-known/(openid-configuration|oauth-authorization-server|change-password)"
    r"|/style\.css|/script\.js|/brand\.css|/brand/logo|/static/<path:filename>|/styleguide(/<group>)?"
)
"""The addresses of contract.md section 4, and what its pages are drawn with. A new one is added here on purpose."""
NOT_MEANT = (
    *("/metrics", "/health", "/openapi.json", "/openapi.yaml", "/swagger", "/docs", "/debug", "/console", "/status"),
    *("/.env", "/.git/config", "/.git/HEAD", "/keys/", "/keys/README.md", "/instance/idp.db", "/idp.db", "/backup"),
    *("/static/", "/static/../settings.py", "/static/../../wsgi.py", "/static/%2e%2e/settings.py", "/static/..%5cx"),
    *("/static//etc/passwd", "/static/base.css.map", "/static/.hidden", "/script.js.map", "/style.css.map"),
    *("/wsgi.py", "/requirements.txt", "/robots.txt~", "/server-status", "/phpinfo.php", "/wp-login.php", "/api"),
    *("/admin/../.env", "/login/../.env", "/oauth/", "/oauth/register/", "/oauth/clients", "/.well-known/"),
)


@pytest.fixture
def whole(tmp_path: Path, keys_folder: Path) -> Iterator[Flask]:
    settings = Settings(
        secret_key=SECRET,
        issuer=ISSUER,
        database_url=f"sqlite:///{tmp_path / 'idp.db'}",
        keys_dir=keys_folder,
        mail_server="localhost",
    )
    app = create_app(settings)
    services: Services = app.extensions[EXTENSION]
    Base.metadata.create_all(services.store.engine)
    yield app
    services.store.engine.dispose()


@pytest.mark.spec("D-76", "O-3")
def test_nothing_is_served_that_is_not_meant(whole: Flask) -> None:
    served = {rule.rule for rule in whole.url_map.iter_rules()}
    assert {rule for rule in served if not MEANT.fullmatch(rule)} == set()
    assert {"/login", "/oauth/token"} <= served


@pytest.mark.spec("D-76", "O-3")
def test_what_people_look_for_is_not_there(whole: Flask) -> None:
    visitor = Visitor(whole, base_url=ISSUER)
    assert visitor.get("/login").status == 200
    assert visitor.get("/static/icon.svg").status == 200
    found = {}
    for address in NOT_MEANT:
        # As it stands on the wire: a client would tidy the dots away.
        page = visitor.get("/", environ_overrides={"PATH_INFO": address})
        if page.status not in {400, 404}:
            found[address] = page.status
        assert "Traceback" not in page.text
        assert SECRET not in page.text
    assert found == {}


@pytest.mark.spec("D-76")
def test_the_style_guide_is_not_for_production(whole: Flask) -> None:
    assert Visitor(whole, base_url=ISSUER).get("/styleguide").status == 404


@pytest.mark.spec("P-16")
@pytest.mark.parametrize("name", ["icon.svg", "x" * 5000, "a%00b", "nothing.css"])
def test_what_may_be_done_with_a_file_is_answered_whatever_its_name(whole: Flask, name: str) -> None:
    answer = whole.test_client().options(f"/static/{name}")
    assert answer.status_code == 200
    assert "immutable" not in answer.headers.get("Cache-Control", "")
