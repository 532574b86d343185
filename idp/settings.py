"""Every value that a deployment decides: issuer, database, keys, mail, brand.

Read once at boot from environment variables that begin with `IDP_`, or a `.env` file, and checked; afterwards
passed on as values. Each field's comment is its documentation. A name that is not one of ours is an error, since a
misspelt setting is one that silently does nothing.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SAMPLE_SECRETS = frozenset({"change-me", "changeme", "secret", "dev", "development"})
_SECRET_BYTES_MIN = 32


class SettingsError(Exception):
    """A setting is missing, unknown or refused. The text names the setting, never its value."""


def _text(raw: str) -> str:
    return raw.strip()


def _flag(raw: str) -> bool:
    value = raw.strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("write 1 or 0")


def _one_of(*choices: str) -> Callable[[str], str]:
    def convert(raw: str) -> str:
        value = raw.strip()
        if value not in choices:
            raise ValueError("write one of " + ", ".join(choices))
        return value

    return convert


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(raw: str) -> int:
        value = int(raw)
        if not low <= value <= high:
            raise ValueError(f"write a whole number from {low} to {high}")
        return value

    return convert


def _colour(raw: str) -> str:
    value = raw.strip().lower()
    if value and not re.fullmatch("#[0-9a-f]{6}", value):
        raise ValueError("write a colour like #0e5a56")
    return value


def _https(raw: str) -> str:
    value = raw.strip()
    parts = urlsplit(value)
    if value and (parts.scheme != "https" or not parts.hostname or parts.username is not None):
        raise ValueError("write an https address")
    return value


def _database(raw: str) -> str:
    value = raw.strip()
    # What stands behind the scheme, several hosts for instance, is SQLAlchemy's to read.
    if not re.fullmatch(r"(sqlite:///|postgresql\+psycopg://)\S+", value):
        raise ValueError("write sqlite:///file or postgresql+psycopg://user:password@host/name")
    return value


def _redis(raw: str) -> str:
    value = raw.strip()
    parts = urlsplit(value)
    has_place = parts.path if parts.scheme == "unix" else parts.hostname
    if value and (parts.scheme not in {"redis", "rediss", "unix"} or not has_place or parts.port == 0):
        raise ValueError("write redis://host:port/number, rediss://… or unix:///path")
    return value


def _networks(raw: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(part.strip())) for part in raw.split(",") if part.strip())


def _setting(default: Any, convert: Callable[[str], Any] = _text, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"convert": convert, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """What `from_environment` found. Paths are absolute."""

    issuer: str = _setting("http://localhost:5000")
    """Our address, as it stands in every token: https, or http on loopback. No path, no slash at the end."""
    database_url: str = _setting("sqlite:///instance/idp.db", _database, secret=True)
    """Several hosts of PostgreSQL are tried in order, for the one that takes writes: docs/operations.md."""
    redis_url: str = _setting("", _redis, secret=True)
    """Where nodes keep what they count and remember together, and may forget; without it, in the database."""
    secret_key: str = _setting("", secret=True)
    """At least 32 bytes. Keys the hashes of usernames and the CSRF tokens; changing it forgets every lock."""
    keys_dir: Path = _setting(Path("keys"), Path)

    mail_server: str = _setting("localhost")
    mail_port: int = _setting(25, _whole(1, 65535))
    mail_username: str = _setting("")
    mail_password: str = _setting("", secret=True)
    mail_tls: str = _setting("none", _one_of("none", "starttls", "tls"))
    mail_sender: str = _setting("")

    registration: str = _setting("token", _one_of("off", "token", "open"))
    refresh_grace: int = _setting(0, _whole(0, 30))
    """Seconds in which a spent refresh token gives its own successor again (T-8)."""
    retention_days: int = _setting(90, _whole(1, 3660))
    lockout_trusted_devices: bool = _setting(True, _flag)
    recovery_question: str = _setting("alone", _one_of("alone", "then_link", "off"))

    brand: str = _setting("e-FACTURA")
    company: str = _setting("SERES de México")
    support_phone: str = _setting("")
    support_email: str = _setting("")
    support_hours: str = _setting("")
    logo: str = _setting("")
    """An image file, PNG, WebP or JPEG; shown 32 px high beside the brand, in the place of our own mark."""
    brand_color: str = _setting("", _colour)
    """Buttons, links of the menu, marks: one colour, such as `#0e5a56`. What follows from it is derived: the text on
    it, its shade under the pointer, its tint. Refused at boot where any of that could not be read (WCAG 2.2)."""
    brand_color_dark: str = _setting("", _colour)
    """The same where the person's system is set to dark; lightened from `brand_color` where it is not given."""
    canvas_color: str = _setting("", _colour)
    """The dark ground beside the sign-in panel, in the light and the dark look alike. It has to carry white text."""
    privacy_url: str = _setting("", _https)
    terms_url: str = _setting("", _https)
    """Privacy notice and terms, https: shown at the foot of every page, and at activation."""

    trusted_proxies: tuple[str, ...] = _setting((), _networks)
    """Networks whose `X-Forwarded-For` and `-Proto` are believed, separated by commas."""
    log_format: str = _setting("console", _one_of("console", "json"))
    log_requests: bool = _setting(False, _flag)
    """One line of the log for each request: kind of address, status, time. Never the address itself."""
    allow_loopback_clients: bool = _setting(False, _flag)
    test_captcha_socket: str = _setting("")

    @property
    def is_production(self) -> bool:
        """Whether the issuer is reachable from elsewhere than this machine."""
        return not is_loopback(urlsplit(self.issuer).hostname)

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach us by https, so that cookies can be `__Host-` and `Secure` (W-1)."""
        return self.issuer.startswith("https://")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, folder: Path) -> "Settings":
        """Read and check. Relative paths are taken from `folder`. Raises `SettingsError`, naming the setting."""
        by_name = {f"IDP_{each.name.upper()}": each for each in fields(cls)}
        unknown = sorted(name for name in environment if name.startswith("IDP_") and name not in by_name)
        if unknown:
            raise SettingsError(f"unknown setting {', '.join(unknown)}")
        values: dict[str, Any] = {}
        for name, each in by_name.items():
            if name not in environment:
                continue
            try:
                values[each.name] = each.metadata["convert"](environment[name])
            except ValueError as error:
                # Only the texts of our own converters are shown; those of int() and ip_network() repeat the value.
                reason = str(error) if str(error).startswith("write ") else "it cannot be read"
                raise SettingsError(f"{name}: {reason}") from None
        values["keys_dir"] = (folder / values.get("keys_dir", Path("keys"))).resolve()
        if values.get("logo"):
            values["logo"] = str((folder / values["logo"]).resolve())
        values["database_url"] = _absolute_sqlite(values.get("database_url", "sqlite:///instance/idp.db"), folder)
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        parts = urlsplit(self.issuer)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query or parts.fragment:
            raise SettingsError("IDP_ISSUER: write a scheme and a host, without path or slash at the end")
        if parts.username is not None or self.issuer != self.issuer.lower():
            raise SettingsError("IDP_ISSUER: write it in lower case and without a user")
        if parts.scheme == "http" and self.is_production:
            raise SettingsError("IDP_ISSUER: http is for loopback only; write https")
        if len(self.secret_key.encode()) < _SECRET_BYTES_MIN:
            raise SettingsError(f"IDP_SECRET_KEY: {_SECRET_BYTES_MIN} bytes at least")
        if self.secret_key.lower() in SAMPLE_SECRETS or len(set(self.secret_key)) < 8:
            raise SettingsError("IDP_SECRET_KEY: a sample or a pattern; make a random one")
        if self.is_production:
            for name in ("allow_loopback_clients", "test_captcha_socket"):
                if getattr(self, name):
                    raise SettingsError(f"IDP_{name.upper()}: for tests only, refused in production")


def is_loopback(host: str | None) -> bool:
    """Whether `host` names this machine itself: `localhost`, 127.0.0.0/8 or ::1."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _absolute_sqlite(url: str, folder: Path) -> str:
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url.startswith(prefix + "/") or url == prefix + ":memory:":
        return url
    return prefix + str((folder / url.removeprefix(prefix)).resolve())
