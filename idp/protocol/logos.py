"""A client's logo, drawn anew: nothing of the file that came is served (P-15)."""

import warnings
from io import BytesIO

from PIL import Image, ImageSequence, UnidentifiedImageError

from idp import policy

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_PIXELS_MAX = 4_000_000  # what is larger than that in 64 KiB is made to fill memory


def draw_logo(raw: bytes) -> bytes | None:
    """The first frame as a small PNG with nothing but pixels in it, or None for what is no image that we take."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(raw), formats=_FORMATS) as image:
                if image.width * image.height > _PIXELS_MAX:
                    return None
                frame = next(iter(ImageSequence.Iterator(image))).convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None
    for side in (policy.LOGO_SIDE_MAX, policy.LOGO_SIDE_MAX // 2):
        frame.thumbnail((side, side))
        clean = Image.new("RGBA", frame.size)
        clean.paste(frame)
        png = BytesIO()
        clean.save(png, "PNG", optimize=True)
        if png.tell() <= policy.LOGO_BYTES_MAX:
            return png.getvalue()
    return None
