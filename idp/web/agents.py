"""What a browser calls itself, and where it came from, as its owner recognises them (S22)."""

import ipaddress

from flask_babel import gettext

# The first that is found counts: Edge and Opera also call themselves Chrome, and Chrome calls itself Safari.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
_HANDHELD = frozenset({"iPhone", "iPad", "Android"})


def _first(user_agent: str | None, marks: tuple[tuple[str, str], ...]) -> str | None:
    return next((name for mark, name in marks if mark in (user_agent or "")), None)


def agent_text(user_agent: str | None) -> str:
    """Browser and system by family, never the text itself, which anybody can write."""
    browser, system = _first(user_agent, _BROWSERS), _first(user_agent, _SYSTEMS)
    if browser is not None and system is not None:
        return str(gettext("%(browser)s en %(system)s", browser=browser, system=system))
    return browser or system or str(gettext("Navegador desconocido"))


def is_handheld(user_agent: str | None) -> bool:
    """Whether it is a telephone or a tablet."""
    return _first(user_agent, _SYSTEMS) in _HANDHELD


def cut_address(address: str | None) -> str:
    """An address cut to what tells networks apart: two of four parts, or of eight; nothing where there is none."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return ":".join(part.lstrip("0") or "0" for part in found.exploded.split(":")[:2]) + ":…"
        found = found.ipv4_mapped
    return ".".join(str(found).split(".")[:2]) + ".•••.•••"


def mask_email(email: str) -> str:
    """An e-mail address as its owner knows it again and a passer-by learns little."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}•••••@{domain}" if name else ""
