"""A deployment's own look: colours that cannot be read stop the start, a logo is drawn anew, addresses are checked."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from idp.settings import Settings, SettingsError
from idp.web.branding import read_brand
from idp.web.colours import SCHEMES, find_unreadable, tokens
from tests.web.conftest import SECRET, Visitor, build


def settings(**more: str) -> Settings:
    return Settings(secret_key=SECRET, **more)  # type: ignore[arg-type]  # texts only


def test_without_settings_nothing_more_is_fetched() -> None:
    visitor = Visitor(build(settings()))
    assert "/brand.css" not in visitor.get("/login")
    assert visitor.get("/brand.css").status == 404
    assert visitor.get("/brand/logo").status == 404


def test_colours_are_a_style_sheet_of_properties_alone() -> None:
    visitor = Visitor(build(settings(brand_color="#7a1f3d", canvas_color="#3a0d1c")))
    page = visitor.get("/login")
    found = re.search(r'href="(/brand\.css\?v=[0-9a-f]{12})"', page.text)
    assert found is not None
    style = visitor.get(found[1])
    assert "immutable" in style.response.headers["Cache-Control"]
    assert style.response.mimetype == "text/css"
    assert re.fullmatch(r":root\{[^{}]*\}\n@media \(prefers-color-scheme:dark\)\{:root\{[^{}]*\}\}\n", style.text)
    assert "--brand:#7a1f3d" in style
    assert set(re.findall(r"--([\w-]+):", style.text)) == {
        *("brand", "brand-hover", "brand-tint", "on-brand", "mark", "canvas-1", "canvas-2")
    }
    assert 'content="#3a0d1c"' in page
    assert visitor.get("/brand.css?v=other").response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("brand", ["#0e5a56", "#7a1f3d", "#123c8c", "#5a2d82", "#006644", "#333333", "#8c4a00"])
def test_what_follows_from_a_colour_can_be_read_in_both_looks(brand: str) -> None:
    style = (read_brand(settings(brand_color=brand)).style or b"").decode()
    for scheme, part in zip(SCHEMES, style.split("@media"), strict=True):
        chosen = dict(re.findall(r"--([\w-]+):(#[0-9a-f]{6})", part))
        assert find_unreadable({**tokens(scheme), **chosen}, set(chosen)) is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"brand_color": "#ffd166"}, r"IDP_BRAND_COLOR: brand on bg has a contrast of 1\.\d\d in the light look"),
        ({"brand_color": "#0e5a56", "brand_color_dark": "#0e5a56"}, "IDP_BRAND_COLOR_DARK: brand on bg .* dark look"),
        ({"canvas_color": "#f5f3ee"}, "IDP_CANVAS_COLOR: on-canvas on canvas-1 has a contrast of 1"),
    ],
)
def test_a_colour_that_cannot_be_read_stops_the_start(more: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        build(settings(**more))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IDP_BRAND_COLOR", "red"),
        ("IDP_BRAND_COLOR", "#fff;}body{display:none"),
        ("IDP_CANVAS_COLOR", "#12345"),
        ("IDP_PRIVACY_URL", "http://example.com/"),
        ("IDP_PRIVACY_URL", "javascript:alert(1)"),
        ("IDP_TERMS_URL", "https://user@example.com/"),
    ],
)
def test_what_is_no_colour_or_address_is_refused_by_name(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({"IDP_SECRET_KEY": SECRET, name: value}, folder=tmp_path)


def test_legal_pages_stand_at_the_foot() -> None:
    visitor = Visitor(build(settings(privacy_url="https://example.com/p", terms_url="https://example.com/t")))
    page = visitor.get("/login")
    assert 'href="https://example.com/p"' in page
    assert 'href="https://example.com/t"' in page
    assert "https://example.com" not in Visitor(build(settings())).get("/login")


# -- logo ------------------------------------------------------------------------------------------------------------


def picture(path: Path, size: tuple[int, int], kind: str = "PNG") -> str:
    colours = Image.linear_gradient("L").resize(size)
    drawn = Image.merge("RGB", (colours, colours.rotate(90), colours.rotate(180)))
    notes = PngInfo()
    notes.add_text("Comment", "a secret of the file")
    drawn.save(path, kind, **({"pnginfo": notes} if kind == "PNG" else {}))
    return str(path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_logo_is_drawn_anew(kind: str, tmp_path: Path) -> None:
    visitor = Visitor(build(settings(logo=picture(tmp_path / "logo", (900, 300), kind))))
    page = visitor.get("/login")
    found = re.search(r'<img class="logo" src="(/brand/logo\?v=[0-9a-f]{12})" width="96" height="32"', page.text)
    assert found is not None
    response = visitor.client.get(found[1])
    assert response.mimetype == "image/png"
    assert "immutable" in response.headers["Cache-Control"]
    assert len(response.data) <= 30_000
    assert b"a secret of the file" not in response.data
    with Image.open(io.BytesIO(response.data)) as shown:
        assert (shown.format, shown.size) == ("PNG", (192, 64))


def test_a_wide_logo_stays_within_the_bar(tmp_path: Path) -> None:
    logo = read_brand(settings(logo=picture(tmp_path / "logo.png", (3000, 100)))).logo
    assert logo is not None
    assert (logo.width, logo.height) == (240, 8)


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a" + bytes(40), b'<svg xmlns="http://www.w3.org/2000/svg"/>', b"\x89PNG\r\n\x1a\n" + bytes(60)],
    ids=["empty", "gif", "svg", "broken"],
)
def test_what_is_no_picture_of_ours_stops_the_start(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "logo.png"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="IDP_LOGO"):
        read_brand(settings(logo=str(path)))
    with pytest.raises(SettingsError, match="IDP_LOGO"):
        read_brand(settings(logo=str(tmp_path / "nowhere.png")))
