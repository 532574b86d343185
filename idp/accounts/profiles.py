"""What an account says of its person, and which values may stand there; pure."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from idp.accounts.errors import AccountProblem

LOCALES = ("es-MX", "en")

STANDARD_CLAIMS: Mapping[str, type] = {
    "given_name": str,
    "family_name": str,
    "middle_name": str,
    "nickname": str,
    "preferred_username": str,
    "profile": str,
    "picture": str,
    "website": str,
    "gender": str,
    "birthdate": str,
    "zoneinfo": str,
    "phone_number": str,
    "phone_number_verified": bool,
    "address": dict,
    "email_verified": bool,
}
"""The claims of OIDC Core section 5.1 that an operator may give; `name`, `email` and `locale` have their own place."""

_ADDRESS_MEMBERS = frozenset({"formatted", "street_address", "locality", "region", "postal_code", "country"})
_NAME_LENGTH_MAX = 200
_EMAIL_LENGTH_MAX = 254
_CLAIM_LENGTH_MAX = 2000

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""They shape letters of some scripts; the other format characters turn what is read around, or are not seen at all."""


def check_name(name: str | None) -> str:
    """The name as it is kept: one line, NFC, without outer spaces; may be empty. `AccountProblem` otherwise."""
    text = " ".join(part for part in (name or "").split(" ") if part)
    text = unicodedata.normalize("NFC", text).strip()
    if len(text) > _NAME_LENGTH_MAX or _has_control(text):
        raise AccountProblem(f"a name is one line of {_NAME_LENGTH_MAX} characters that can be seen, at most")
    return text


def check_email(email: str) -> str:
    """The address, as it is; `AccountProblem` where it is none, or could not stand in a mail header."""
    local, _, domain = email.rpartition("@")
    # W-11: no line break or other control character ever reaches a mail header.
    is_odd = _has_control(email) or any(char.isspace() for char in email) or not local or "." not in f"{domain}."
    if is_odd or not domain or len(email) > _EMAIL_LENGTH_MAX or any(char in '<>()[],;:\\"' for char in email):
        raise AccountProblem("this is no mail address")
    return email


def check_locale(locale: str) -> str:
    """The language, if the pages have it; `AccountProblem` otherwise."""
    if locale not in LOCALES:
        raise AccountProblem(f"unknown language; there are {', '.join(LOCALES)}")
    return locale


def check_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims, if an operator may give them and OIDC Core lets them look so; `AccountProblem` otherwise."""
    for name, value in claims.items():
        kind = STANDARD_CLAIMS.get(name)
        if kind is None:
            raise AccountProblem(f"claim {name!r} cannot be given")
        if not isinstance(value, kind) or (isinstance(value, str) and not 0 < len(value) <= _CLAIM_LENGTH_MAX):
            raise AccountProblem(f"claim {name!r} needs another kind of value")
        if isinstance(value, str) and _has_control(value):
            raise AccountProblem(f"claim {name!r} is one line of characters that can be seen")
    address = claims.get("address", {})
    if not _ADDRESS_MEMBERS.issuperset(address) or not all(isinstance(each, str) for each in address.values()):
        raise AccountProblem("claim 'address' has members that OIDC Core section 5.1.1 does not know")
    # OIDC Core section 5.1.1: two members may have several lines.
    if any(_has_control(each.replace("\r\n", " ").replace("\n", " ")) for each in address.values()):
        raise AccountProblem("claim 'address' has characters that cannot be seen")
    return dict(claims)


def _has_control(text: str) -> bool:
    return any(unicodedata.category(char) in _UNSEEN and char not in _JOINERS for char in text)
