"""Clients over HTTP and by command: registration, its token, the logo, a secret that rotates."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from joserfc.jwk import ECKey

from idp.app import create_app
from idp.cli.main import cli
from idp.policy import REGISTRATION_BODY_MAX
from idp.settings import Settings

Run = Callable[..., Any]
REDIRECT_URI = "https://rp.example/cb"


@pytest.fixture
def run(tmp_path: Path, keys_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """One `idp` command over a provider of its own; gives what it printed, read, or its words of refusal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDP_ISSUER", "http://localhost:5000")
    monkeypatch.setenv("IDP_SECRET_KEY", "0123456789abcdef0123456789abcdef-tests")
    monkeypatch.setenv("IDP_KEYS_DIR", str(keys_folder))
    runner = CliRunner()

    def invoke(*arguments: str) -> Any:
        done = runner.invoke(cli, list(arguments))
        if done.exception is not None:
            return str(done.exception)
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    invoke("init")
    return invoke


def browser(**changes: Any) -> FlaskClient:
    """The provider that the environment describes, changed."""
    settings = Settings.from_environment(os.environ, folder=Path.cwd())
    return create_app(replace(settings, **changes)).test_client()


def post(web: FlaskClient, body: Any, token: str | None = None, **arguments: Any) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return web.post("/oauth/register", json=body, headers=headers, **arguments)


@pytest.mark.spec("contract §4", "RFC 7591 §3", "RFC 7592 §2", "D-70")
def test_a_client_registers_with_a_token_and_manages_itself(run: Run) -> None:
    token = run("client", "registration-token", "--uses", "1", "--expires", "2", "--json")["registration_token"]
    web = browser()
    discovery = web.get("/.well-known/openid-configuration").json
    assert discovery is not None
    assert discovery["registration_endpoint"] == "http://localhost:5000/oauth/register"
    body = {"redirect_uris": [REDIRECT_URI], "client_name": "Nueva", "first_party": True}
    refused = post(web, body)
    assert (refused.status_code, refused.json["error"]) == (401, "invalid_token")
    assert refused.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
    made = post(web, body, token)
    assert (made.status_code, made.mimetype, made.headers["Cache-Control"]) == (201, "application/json", "no-store")
    assert post(web, body, token).status_code == 401
    assert run("client", "show", made.json["client_id"], "--json")["first_party"] is False
    path = f"/oauth/register/{made.json['client_id']}"
    headers = {"Authorization": f"Bearer {made.json['registration_access_token']}"}
    assert web.get(path, headers=headers).json["client_name"] == "Nueva"
    change = {"client_id": made.json["client_id"], "redirect_uris": [REDIRECT_URI], "client_name": "Otra"}
    assert web.put(path, headers=headers, json=change).json["client_name"] == "Otra"
    assert web.get(path).status_code == 401
    gone = web.delete(path, headers=headers)
    assert (gone.status_code, gone.data) == (204, b"")
    assert web.get(path, headers=headers).status_code == 401


@pytest.mark.spec("P-16", "O-4")
def test_the_endpoint_takes_json_of_a_size_and_nothing_else(run: Run) -> None:
    web = browser(registration="open")
    assert post(web, {"redirect_uris": [REDIRECT_URI]}).status_code == 201
    form = web.post("/oauth/register", data={"redirect_uris": REDIRECT_URI})
    assert (form.status_code, form.json["error"]) == (400, "invalid_request")
    large = post(web, {"redirect_uris": [REDIRECT_URI], "x": "x" * REGISTRATION_BODY_MAX})
    assert large.status_code == 413
    assert web.get("/oauth/register").status_code == 405
    assert web.get("/oauth/register/unknown").status_code == 401
    assert "Access-Control-Allow-Origin" not in post(web, {"redirect_uris": []}).headers
    assert web.get("/oauth/logo/unknown/x.png").status_code == 404


@pytest.mark.spec("contract §3")
def test_where_it_is_off_there_is_no_such_endpoint(run: Run) -> None:
    web = browser(registration="off")
    assert "registration_endpoint" not in (web.get("/.well-known/openid-configuration").json or {})
    assert post(web, {"redirect_uris": [REDIRECT_URI]}).status_code == 404
    assert web.get("/oauth/register/x").status_code == 404


@pytest.mark.spec("contract §2")
def test_all_of_a_client_can_be_said_by_command(run: Run, tmp_path: Path) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k"})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    made = run(
        *("client", "add", "Banco", "--redirect-uri", REDIRECT_URI, "--profile", "compat"),
        *("--response-type", "code id_token", "--response-type", "code", "--response-mode", "form_post"),
        *("--auth", "private_key_jwt", "--auth-alg", "ES256", "--jwks", str(file), "--id-token-alg", "RS256"),
        *("--id-token-encryption", "ECDH-ES", "--subject-type", "pairwise", "--require-auth-time"),
        *("--policy-uri", "https://rp.example/privacy", "--contact", "a@rp.example", "--default-max-age", "60"),
        *("--frontchannel-logout-uri", "https://rp.example/out", "--require-par", "--json"),
    )
    expected = {
        "client_name": "Banco",
        "response_types": ["code", "code id_token"],
        "grant_types": ["authorization_code", "implicit"],
        "response_modes": ["form_post"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "id_token_signed_response_alg": "RS256",
        "id_token_encrypted_response_alg": "ECDH-ES",
        "id_token_encrypted_response_enc": "A128CBC-HS256",
        "subject_type": "pairwise",
        "sector": "rp.example",
        "require_auth_time": True,
        "require_pushed_authorization_requests": True,
        "policy_uri": "https://rp.example/privacy",
        "contacts": ["a@rp.example"],
        "default_max_age": 60,
        "frontchannel_logout_uri": "https://rp.example/out",
    }
    assert expected.items() <= made.items()
    assert made["jwks"]["keys"][0]["kid"] == "k"
    assert "client_secret" not in made
    shown = run("client", "show", made["client_id"], "--json")
    assert shown == made
    changed = run("client", "update", made["client_id"], "--auth", "basic", "--no-require-par", "--json")
    assert len(changed["client_secret"]) >= 43
    assert "require_pushed_authorization_requests" not in changed
    assert changed["contacts"] == ["a@rp.example"]


@pytest.mark.spec("contract §2")
def test_a_private_key_is_not_taken(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add = ("client", "add", "A", "--redirect-uri", REDIRECT_URI, "--auth", "private_key_jwt", "--jwks", str(file))
    key = ECKey.generate_key("P-256")
    file.write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
    assert "private key" in run(*add)
    file.write_text("no JSON")
    assert run(*add).startswith("--jwks:")
    file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    assert run(*add, "--json")["client_id"]


@pytest.mark.spec("contract §2")
def test_a_secret_rotates_and_may_end(run: Run) -> None:
    made = run("client", "add", "A", "--redirect-uri", REDIRECT_URI, "--secret-expires", "30", "--json")
    assert made["client_secret_expires_at"] is not None
    rotated = run("client", "rotate-secret", made["client_id"], "--keep", "2", "--json")
    shown = run("client", "show", made["client_id"], "--json")
    assert rotated["client_secret"] != made["client_secret"]
    assert (shown["previous_secret_expires_at"] is not None, shown["client_secret_expires_at"]) == (True, None)
    assert "days at most" in run("client", "rotate-secret", made["client_id"], "--keep", "1000")
    public = run("client", "add", "B", "--redirect-uri", REDIRECT_URI, "--auth", "none", "--json")
    assert "no secret" in run("client", "rotate-secret", public["client_id"])
    assert "no client" in run("client", "rotate-secret", "unknown")
