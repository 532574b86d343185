"""Clients that registered themselves: read, changed, removed; their sector and their logo."""

from io import BytesIO
from typing import Any

import pytest
from joserfc.jwk import ECKey
from PIL import Image

from idp import policy
from idp.protocol.clients import Clients
from idp.protocol.details import ClientDetails
from idp.protocol.errors import ClientProblem
from idp.protocol.metadata import Registration
from tests.protocol.conftest import House
from tests.protocol.desk import REDIRECT_URI, Desk, error

METADATA = "invalid_client_metadata"


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house)


@pytest.mark.spec("RFC 7592 §2")
def test_a_client_reads_changes_and_removes_itself_and_no_other(desk: Desk) -> None:
    mine, other = desk.made(client_name="Mía"), desk.made()
    token = mine["registration_access_token"]
    for method in ("read", "replace", "remove"):
        body = {"client_id": other["client_id"], "redirect_uris": [REDIRECT_URI]} if method == "replace" else None
        assert error(desk.send(method, other["client_id"], token, body)) == (401, "invalid_token")
        assert error(desk.send(method, mine["client_id"], None, body)) == (401, "invalid_token")
        assert error(desk.send(method, "unknown", token, body)) == (401, "invalid_token")
    change = {
        "client_id": mine["client_id"],
        "redirect_uris": ["https://rp.example/new"],
        "tos_uri": "https://rp.example",
    }
    changed = desk.send("replace", mine["client_id"], token, change).body
    assert changed is not None
    assert (changed["redirect_uris"], changed["client_name"]) == (["https://rp.example/new"], "rp.example")
    assert changed["registration_access_token"] == token
    assert "client_secret" not in changed
    client = desk.house.server.clients.find(mine["client_id"])
    assert client is not None
    assert client.has_secret(mine["client_secret"], now=desk.house.now)
    assert desk.send("remove", mine["client_id"], token).status == 204
    assert error(desk.send("read", mine["client_id"], token)) == (401, "invalid_token")
    assert desk.house.server.clients.find(other["client_id"]) is not None


@pytest.mark.spec("RFC 7592 §2.2")
@pytest.mark.parametrize(
    "change",
    [
        {"registration_access_token": "x"},
        {"registration_client_uri": "x"},
        {"client_secret_expires_at": 0},
        {"client_id_issued_at": 1},
        {"client_secret": "chosen by the client"},
        {"client_id": "another"},
        {"client_id": None},
    ],
)
def test_a_change_does_not_name_what_is_ours(desk: Desk, change: dict[str, Any]) -> None:
    made = desk.made()
    good = {"client_id": made["client_id"], "client_secret": made["client_secret"], "redirect_uris": [REDIRECT_URI]}
    token = made["registration_access_token"]
    assert desk.send("replace", made["client_id"], token, good).status == 200
    assert error(desk.send("replace", made["client_id"], token, good | change)) == (400, "invalid_request")


@pytest.mark.spec("D-70", "RFC 7592 §2.2")
def test_a_change_takes_nothing_that_an_operator_gave_and_nothing_more(desk: Desk) -> None:
    made = desk.made()
    operator = {"scopes": ("openid", "mailbox:read"), "resources": ("https://api.example",), "first_party": True}
    desk.house.server.clients.update(made["client_id"], operator, now=desk.house.now)
    change = {
        "client_id": made["client_id"],
        "redirect_uris": [REDIRECT_URI],
        "scope": "email mailbox:download",
        "retention_days": 9,
    }
    assert desk.send("replace", made["client_id"], made["registration_access_token"], change).status == 200
    client = desk.house.server.clients.find(made["client_id"])
    assert client is not None
    assert client.scopes == ("email", "mailbox:read")
    assert (client.resources, client.first_party, client.retention_days) == (("https://api.example",), True, None)


@pytest.mark.spec("D-70", "RFC 7592 §2.2")
def test_what_an_operator_took_away_a_moment_ago_stays_away(desk: Desk) -> None:
    """At another node, whose change this one's cache does not know yet; and while the client's own is on its way."""
    made = desk.made()
    here, now, client_id = desk.house.server.clients, desk.house.now, made["client_id"]
    there = Clients(desk.house.server.services.store)
    there.update(client_id, {"scopes": ("openid", "mailbox:read")}, now=now)
    before = here.find(client_id, anew=True)
    assert before is not None
    there.update(client_id, {"scopes": ("openid",)}, now=now)
    change = {"client_id": client_id, "redirect_uris": [REDIRECT_URI], "scope": "openid email"}
    assert desk.send("replace", client_id, made["registration_access_token"], change).status == 200
    after = here.find(client_id)
    assert after is not None
    assert after.scopes == ("openid", "email")
    with pytest.raises(ClientProblem, match="changed meanwhile"):
        here.update(client_id, {"scopes": before.scopes}, now=now, seen=before.registration)
    here.update(client_id, {"scopes": before.scopes}, now=now, seen=after.registration)


def test_a_new_method_comes_with_a_new_secret(desk: Desk) -> None:
    made = desk.made(token_endpoint_auth_method="none", application_type="native")
    change = {"client_id": made["client_id"], "redirect_uris": [REDIRECT_URI]}
    changed = desk.send("replace", made["client_id"], made["registration_access_token"], change).body
    assert changed is not None
    client = desk.house.server.clients.find(made["client_id"])
    assert client is not None
    assert client.has_secret(changed["client_secret"], now=desk.house.now)


@pytest.mark.spec("OIDC Registration §5", "OIDC Core §8.1")
def test_a_sector_lists_every_redirect_uri(desk: Desk) -> None:
    uri = "https://sector.example/uris"
    said = {"redirect_uris": [REDIRECT_URI, "https://two.example/cb"], "sector_identifier_uri": uri}
    said["subject_type"] = "pairwise"
    for listed in (None, [REDIRECT_URI], {"a": 1}, "https://rp.example/cb https://two.example/cb"):
        desk.web.found = {} if listed is None else {uri: listed}
        assert error(desk.register(**said)) == (400, METADATA)
    desk.web.found = {uri: [*said["redirect_uris"], "https://three.example/cb"]}
    client = desk.house.server.clients.find(desk.made(**said)["client_id"])
    assert client is not None
    assert client.details.sector == "sector.example"


def _picture(size: tuple[int, int], kind: str = "PNG") -> bytes:
    file = BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(file, kind)
    return file.getvalue()


@pytest.mark.spec("P-15", "OIDC Registration §2")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_logo_is_drawn_anew(desk: Desk, kind: str) -> None:
    uri = "https://rp.example/logo"
    desk.web.found[uri] = _picture((400, 200), kind) + b"<script>alert(1)</script>"
    made = desk.made(logo_uri=uri)
    clients = desk.house.server.clients
    client = clients.find(made["client_id"])
    assert client is not None
    png = clients.find_logo(client.client_id)
    assert png is not None
    assert len(png) <= policy.LOGO_BYTES_MAX
    assert b"script" not in png
    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        assert max(image.size) <= policy.LOGO_SIDE_MAX
        assert image.width == 2 * image.height
    assert client.logo_path == f"/oauth/logo/{client.client_id}/{client.details.logo_digest}.png"
    # Said again it is not fetched again; another address is; none takes it away.
    change = {"client_id": client.client_id, "redirect_uris": [REDIRECT_URI], "logo_uri": uri}
    token = made["registration_access_token"]
    assert desk.send("replace", client.client_id, token, change).status == 200
    assert (desk.web.asked, clients.find_logo(client.client_id)) == ([uri], png)
    assert desk.send("replace", client.client_id, token, change | {"logo_uri": None}).status == 200
    assert clients.find_logo(client.client_id) is None


@pytest.mark.parametrize("raw", [b"", b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\n" * 9])
def test_a_logo_that_is_no_picture_keeps_nobody_out(desk: Desk, raw: bytes) -> None:
    desk.web.found["https://rp.example/logo"] = raw
    client = desk.house.server.clients.find(desk.made(logo_uri="https://rp.example/logo")["client_id"])
    assert client is not None
    assert (client.logo_path, client.details.logo_uri) == (None, "https://rp.example/logo")


def test_a_picture_that_is_made_to_fill_memory_is_not_drawn(desk: Desk) -> None:
    file = BytesIO()
    Image.new("1", (8000, 8000)).save(file, "PNG", optimize=True)
    assert len(file.getvalue()) < policy.FETCH_BYTES_MAX
    desk.web.found["https://rp.example/logo"] = file.getvalue()
    client = desk.house.server.clients.find(desk.made(logo_uri="https://rp.example/logo")["client_id"])
    assert client is not None
    assert client.logo_path is None


@pytest.mark.spec("OIDC Core §8.1")
def test_operators_are_held_to_the_same(desk: Desk) -> None:
    details = ClientDetails(subject_type="pairwise", sector_identifier_uri="https://sector.example/uris")
    registration = Registration("App", redirect_uris=(REDIRECT_URI,), details=details)
    with pytest.raises(ClientProblem):
        desk.door.add(registration, now=desk.house.now)
    desk.web.found["https://sector.example/uris"] = [REDIRECT_URI]
    client, _ = desk.door.add(registration, now=desk.house.now)
    with pytest.raises(ClientProblem):
        desk.door.update(client.client_id, {"redirect_uris": ("https://other.example/cb",)}, now=desk.house.now)
    key = ECKey.generate_key("P-256").as_dict(private=False)
    changes = {"token_endpoint_auth_method": "private_key_jwt", "details": ClientDetails(jwks={"keys": [key]})}
    changed, secret = desk.door.update(client.client_id, changes, now=desk.house.now)
    assert (changed.client_secret_digest, secret) == (None, None)
    _, secret = desk.door.update(
        client.client_id, {"token_endpoint_auth_method": "client_secret_post"}, now=desk.house.now
    )
    assert secret is not None
