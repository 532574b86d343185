"""Usernames: RFC, `CT.`, `usr.` and `adm.`; canonical or refused."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date

from idp.accounts.errors import MalformedUsername
from idp.accounts.models import Kind

GENERIC_RFCS = frozenset({"XAXX010101000", "XEXX010101000"})
"""SAT's stand-ins for the general public and for foreigners: nobody's own, so they own no account."""

_TYPED_LENGTH_MAX = 256
# Translation tables, not `str.upper()` or `re.IGNORECASE`: those also map ſ, ı and other letters onto ours (PW-8).
_DROP = str.maketrans("", "", " -")
_RAISE = str.maketrans("abcdefghijklmnopqrstuvwxyzñ", "ABCDEFGHIJKLMNOPQRSTUVWXYZÑ")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_PREFIXES = {"CT.": ("CT.", Kind.EMPLOYEE), "USR.": ("usr.", Kind.FREE), "ADM.": ("adm.", Kind.STAFF)}
_RFC = re.compile(r"[A-ZÑ&]{3,4}([0-9]{2})([0-9]{2})([0-9]{2})[A-Z0-9]{2}[0-9A]")
_SHORT_NAME = re.compile(r"[a-z0-9]{2,20}")


@dataclass(frozen=True, slots=True)
class Username:
    """A username in its one spelling; made by `parse_username` only."""

    canonical: str
    kind: Kind
    rfc: str | None
    """The person's own RFC; staff have none."""

    @property
    def masked(self) -> str:
        """For mails and pages that others may see: prefix, three first and three last characters of the RFC."""
        if self.rfc is None:
            prefix, name = self.canonical[:4], self.canonical[4:]
            return prefix + name[0] + "·" * (len(name) - 1)
        prefix = self.canonical.removesuffix(self.rfc)
        return prefix + self.rfc[:3] + "·" * (len(self.rfc) - 6) + self.rfc[-3:]


def parse_username(typed: str) -> Username:
    """The canonical username, or `MalformedUsername`; depends on the text alone.

    Forgiven: ASCII spaces and hyphens, the case of `a–z` and `ñ`, the normal form. Nothing else is folded: full-width
    letters, invisible characters and other white space are refused (PW-8). The check digit is not required, since
    real RFCs fail it.
    """
    if len(typed) > _TYPED_LENGTH_MAX:
        raise MalformedUsername("too long")
    text = unicodedata.normalize("NFC", typed).translate(_DROP)
    raised = text.translate(_RAISE)
    for marker, (prefix, kind) in _PREFIXES.items():
        if raised.startswith(marker):
            if kind is Kind.STAFF:
                return Username(prefix + _parse_short_name(text[len(marker) :]), kind, None)
            rfc = _parse_rfc(raised[len(marker) :])
            return Username(prefix + rfc, kind, rfc)
    rfc = _parse_rfc(raised)
    return Username(rfc, Kind.CLIENT, rfc)


def _parse_rfc(text: str) -> str:
    match = _RFC.fullmatch(text)
    if match is None:
        raise MalformedUsername("no RFC")
    year, month, day = (int(part) for part in match.groups())
    try:
        # The century is not written. 2000 to 2099 has a leap day wherever 1900 to 1999 or 2000 to 2099 has one.
        date(2000 + year, month, day)
    except ValueError:
        raise MalformedUsername("no such date") from None
    return text


def _parse_short_name(text: str) -> str:
    name = text.translate(_LOWER)
    if _SHORT_NAME.fullmatch(name) is None:
        raise MalformedUsername("no staff name")
    return name
