"""What the consent page tells a person."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from flask import Flask, render_template

from idp.web.forms import ConsentForm
from idp.web.scopes import describe_scopes
from tests.web.conftest import KNOWN, Services, Visitor

NOON = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
CLAIMS = {"name": "Escuela Kemper Urgate", "preferred_username": KNOWN, "rfc": KNOWN, "organization": KNOWN}


SAID = {
    "logo_path": "/oauth/logo/mailbox/d.png",
    "client_uri": "https://buzon.example/",
    "policy_uri": "https://buzon.example/aviso?a&b",
    "tos_uri": "https://buzon.example/terminos",
}


def shown(
    app: Flask,
    visitor: Visitor,
    services: Services,
    scopes: list[str],
    said: dict[str, str] | None = None,
    **more: object,
) -> str:
    @app.get("/consent")
    def consent() -> str:
        return render_template(
            "authorize/consent.html",
            interaction=services.protocol.pending["handle"][1],
            redirect_host="buzon.example",
            person=services.sign_in.people["id-1"],
            scopes=describe_scopes(scopes, CLAIMS, now=NOON, retention_days=90),
            new_only=False,
            form=ConsentForm(interaction="handle"),
            **more,
        )

    visitor.sign_in()
    browser = services.sessions.rows[visitor.cookie() or ""]
    services.protocol.add("handle", browser, client_name="<i>Buzón</i>", **(said or {}))
    page = visitor.get("/consent")
    assert (page.status, page.screen) == (200, "consent")
    assert {"submit", "deny"} <= page.ids
    assert page.fields["interaction"] == "handle"
    assert page.actions == {"form-consent": None}
    return page.text


def test_it_names_client_host_person_and_values(app: Flask, visitor: Visitor, services: Services) -> None:
    text = shown(app, visitor, services, ["openid", "profile", "rfc"])
    assert "&lt;i&gt;Buzón&lt;/i&gt;" in text
    assert "buzon.example" in text
    assert "Escuela Kemper Urgate" in text
    assert "Su RFC, su tipo de cuenta y su empresa" in text
    assert 'name="decision" value="allow"' in text
    assert 'name="decision" value="deny"' in text


@pytest.mark.parametrize(("days", "warned"), [(8, False), (7, True)])
def test_a_password_that_ends_soon_is_warned_of_there_too(
    app: Flask, visitor: Visitor, services: Services, days: int, warned: bool
) -> None:
    account = SimpleNamespace(days_left=days, password_expires_at=datetime.now(UTC) + timedelta(days=days, hours=1))
    text = shown(app, visitor, services, ["openid"], account=account)
    assert ("Cambiar ahora" in text) == warned
    assert ('href="/account/password"' in text) == warned


def test_who_just_set_a_password_reads_its_end_there(app: Flask, visitor: Visitor, services: Services) -> None:
    assert "Su contraseña se cambió. Vence el 1 de enero" in shown(
        app, visitor, services, ["openid"], changed="Su contraseña se cambió. Vence el 1 de enero de 2027."
    )


def test_a_mailbox_scope_reads_as_a_sentence_with_its_window(app: Flask, visitor: Visitor, services: Services) -> None:
    text = shown(app, visitor, services, ["mailbox:read"])
    assert "Consultar las facturas de su buzón timbradas desde el 26 de agosto de 2026 (90 días)" in text


def test_a_scope_without_words_is_called_what_it_is(app: Flask, visitor: Visitor, services: Services) -> None:
    assert "Permiso técnico: x&lt;y" in shown(app, visitor, services, ["x<y"])


def test_scopes_come_in_order_once_and_sensitive_ones_are_marked(app: Flask) -> None:
    with app.test_request_context("/"):
        lines = describe_scopes(["mailbox:download", "odd", "openid", "openid", "offline_access"], {}, now=NOON)
    assert [line.name for line in lines] == ["openid", "offline_access", "mailbox:download", "odd"]
    assert [line.sensitive for line in lines] == [False, True, True, False]
    assert {line.group for line in lines} == {"data", "act"}


@pytest.mark.spec("OIDC Registration §2")
def test_it_shows_what_the_application_says_of_itself(app: Flask, visitor: Visitor, services: Services) -> None:
    text = shown(app, visitor, services, ["openid"], SAID)
    assert 'src="/oauth/logo/mailbox/d.png"' in text
    for address in ("https://buzon.example/", "https://buzon.example/aviso?a&amp;b", "https://buzon.example/terminos"):
        assert f'href="{address}" rel="noreferrer"' in text


def test_it_shows_nothing_of_what_was_not_said(app: Flask, visitor: Visitor, services: Services) -> None:
    text = shown(app, visitor, services, ["openid"])
    assert "/oauth/logo/" not in text
    assert "app-links" not in text
