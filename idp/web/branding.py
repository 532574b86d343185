"""The look of a deployment: its colours, checked, as a style sheet of custom properties; its logo, drawn anew."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flask import Blueprint, Flask, Response, abort, request, url_for
from PIL import Image, UnidentifiedImageError

from idp.web.assets import FOR_EVER
from idp.web.colours import SCHEMES, contrast, find_unreadable, mix, tokens
from idp.wiring import SettingsError

if TYPE_CHECKING:
    from idp.settings import Settings

_LOGO_HEIGHT = 32
_LOGO_SCALE = 2
_LOGO_WIDTH_MAX = 240
_LOGO_BYTES_MAX = 30_000
_LOGO_FILE_MAX = 5_000_000
_LOGO_PIXELS_MAX = 20_000_000
_DARK_TEXT, _LIGHT_TEXT = "#05211e", "#ffffff"
_STEPS = 20

_BRAND = frozenset({"brand", "brand-hover", "brand-tint", "on-brand", "mark"})
_CANVAS = frozenset({"canvas-1", "canvas-2"})


class Logo(NamedTuple):
    """A PNG of our own making, and the size it is shown at."""

    content: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Brand:
    """What the pages need to know of the deployment's look. An address is None where there is nothing to fetch."""

    style: bytes | None
    logo: Logo | None
    canvas: str
    """For the browser's own frame."""

    @property
    def style_href(self) -> str | None:
        """Of the style sheet."""
        return None if self.style is None else url_for("branding.style", v=_version(self.style))

    @property
    def logo_href(self) -> str | None:
        """Of the logo."""
        return None if self.logo is None else url_for("branding.logo", v=_version(self.logo.content))

    @property
    def logo_width(self) -> int:
        """In CSS pixels."""
        return 0 if self.logo is None else self.logo.width

    @property
    def logo_height(self) -> int:
        """In CSS pixels."""
        return 0 if self.logo is None else self.logo.height


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def read_brand(settings: "Settings") -> Brand:
    """The look that the settings ask for; `SettingsError` names what is wrong with it."""
    light, dark = (_changed(settings, scheme) for scheme in SCHEMES)
    style = None
    if light or dark:
        style = f":root{{{_properties(light)}}}\n@media (prefers-color-scheme:dark){{:root{{{_properties(dark)}}}}}\n"
    return Brand(
        style=None if style is None else style.encode(),
        logo=_read_logo(settings.logo) if settings.logo else None,
        canvas=light.get("canvas-1", tokens("light")["canvas-1"]),
    )


# -- colours ---------------------------------------------------------------------------------------------------------


def _properties(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{colour}" for name, colour in colours.items())


def _changed(settings: "Settings", scheme: str) -> dict[str, str]:
    ours = tokens(scheme)
    changed: dict[str, str] = {}
    chosen = settings.brand_color_dark if scheme == "dark" else settings.brand_color
    setting = "IDP_BRAND_COLOR_DARK" if scheme == "dark" and chosen else "IDP_BRAND_COLOR"
    if not chosen and scheme == "dark" and settings.brand_color:
        chosen = _lightened(settings.brand_color, ours["surface"])
    if chosen:
        changed |= _of_brand(chosen, ours, scheme)
        _check(setting, {**ours, **changed}, _BRAND, scheme)
    if settings.canvas_color:
        changed["canvas-1"] = settings.canvas_color
        changed["canvas-2"] = mix(settings.canvas_color, "#ffffff", 0.08)
        _check("IDP_CANVAS_COLOR", {**ours, **changed}, _CANVAS, scheme)
    return changed


def _of_brand(brand: str, ours: dict[str, str], scheme: str) -> dict[str, str]:
    light_text = contrast(_LIGHT_TEXT, brand) >= contrast(_DARK_TEXT, brand)
    # Under the pointer a button moves away from the text on it, so that it stays as readable.
    away = "#000000" if light_text else "#ffffff"
    return {
        "brand": brand,
        "brand-hover": mix(brand, away, 0.2),
        "on-brand": _LIGHT_TEXT if light_text else _DARK_TEXT,
        "brand-tint": mix(ours["surface"], brand, 0.12 if scheme == "light" else 0.16),
        "mark": tokens("light")["gold-canvas"] if light_text else _DARK_TEXT,
    }


def _lightened(brand: str, ground: str) -> str:
    """The nearest colour towards white that is well readable on a dark ground."""
    lighter = (mix(brand, "#ffffff", step / _STEPS) for step in range(_STEPS + 1))
    return next(colour for colour in lighter if contrast(colour, ground) >= 7)


def _check(setting: str, colours: dict[str, str], changed: frozenset[str], scheme: str) -> None:
    found = find_unreadable(colours, set(changed))
    if found is not None:
        front, back, ratio, need = found
        raise SettingsError(
            f"{setting}: {front} on {back} has a contrast of {ratio:.2f} in the {scheme} look, and needs {need}"
        )


# -- logo ------------------------------------------------------------------------------------------------------------


def _read_logo(path: str) -> Logo:
    try:
        if Path(path).stat().st_size > _LOGO_FILE_MAX:
            raise SettingsError("IDP_LOGO: the file is larger than 5 MB")
        with Image.open(path, formats=("PNG", "WEBP", "JPEG")) as opened:
            # Asked before a pixel is unpacked: a small file can hold a huge picture.
            if opened.width * opened.height > _LOGO_PIXELS_MAX:
                raise SettingsError("IDP_LOGO: the picture has more than 20 million pixels")
            picture = opened.convert("RGBA")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError):
        raise SettingsError("IDP_LOGO: not a PNG, WebP or JPEG file that can be read") from None
    ratio = min(_LOGO_HEIGHT / picture.height, _LOGO_WIDTH_MAX / picture.width)
    width, height = max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio))
    drawn = picture.resize((width * _LOGO_SCALE, height * _LOGO_SCALE), Image.Resampling.LANCZOS)
    content = _as_png(drawn)
    if len(content) > _LOGO_BYTES_MAX:
        content = _as_png(drawn.quantize(256))
    if len(content) > _LOGO_BYTES_MAX:
        raise SettingsError("IDP_LOGO: too rich in detail to be served in 30 kB; use a simpler picture")
    return Logo(content, width, height)


def _as_png(picture: Image.Image) -> bytes:
    # A new image, not a copy of the file: no metadata, no comments, nothing behind the picture.
    bare = Image.new(picture.mode, picture.size)
    if picture.mode == "P":
        bare = picture.copy()
        bare.info = {}
    else:
        bare.paste(picture)
    out = io.BytesIO()
    bare.save(out, "PNG", optimize=True)
    return out.getvalue()


# -- addresses -------------------------------------------------------------------------------------------------------


def install(app: Flask, settings: "Settings") -> Brand:
    """Bind to `app` the addresses of the look, which is returned. Raises `SettingsError`."""
    brand = read_brand(settings)
    blueprint = Blueprint("branding", __name__)

    @blueprint.get("/brand.css")
    def style() -> Response:
        return _send(brand.style, "text/css")

    @blueprint.get("/brand/logo")
    def logo() -> Response:
        return _send(None if brand.logo is None else brand.logo.content, "image/png")

    app.register_blueprint(blueprint)
    return brand


def _send(content: bytes | None, mimetype: str) -> Response:
    if content is None:
        abort(404)
    version = _version(content)
    response = Response(content, mimetype=mimetype)
    response.set_etag(version)
    response.headers["Cache-Control"] = FOR_EVER if request.args.get("v") == version else "no-cache"
    response.make_conditional(request)
    return response
