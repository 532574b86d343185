"""A username is canonical or refused."""

import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.accounts.errors import MalformedUsername
from idp.accounts.models import Kind
from idp.accounts.usernames import parse_username

RFCS = st.builds(
    lambda letters, day, code, check: letters + day.strftime("%y%m%d") + code + check,
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZÑ&", min_size=3, max_size=4),
    st.dates(date(1930, 1, 1), date(2026, 12, 31)),
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=2, max_size=2),
    st.sampled_from("0123456789A"),
)
CANONICAL = st.one_of(
    st.builds(str.__add__, st.sampled_from(["", "CT.", "usr."]), RFCS),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=2, max_size=20).map(lambda name: "adm." + name),
)


@pytest.mark.spec("PW-8")
@pytest.mark.parametrize(
    ("typed", "canonical", "kind", "rfc"),
    [
        ("EKU9003173C9", "EKU9003173C9", Kind.CLIENT, "EKU9003173C9"),
        ("eku-900317-3c9", "EKU9003173C9", Kind.CLIENT, "EKU9003173C9"),
        (" ct.kicr 630120 nx3 ", "CT.KICR630120NX3", Kind.EMPLOYEE, "KICR630120NX3"),
        ("USR.xia190128j61", "usr.XIA190128J61", Kind.FREE, "XIA190128J61"),
        ("Adm.Demo", "adm.demo", Kind.STAFF, None),
        ("ñ&o010229aaA", "Ñ&O010229AAA", None, None),
        ("n\u0303&o000229aaa", "Ñ&O000229AAA", Kind.CLIENT, "Ñ&O000229AAA"),
    ],
)
def test_what_is_forgiven(typed: str, canonical: str, kind: Kind | None, rfc: str | None) -> None:
    if kind is None:  # 29 February 2001, and of 1901: no such day
        with pytest.raises(MalformedUsername):
            parse_username(typed)
        return
    username = parse_username(typed)
    assert (username.canonical, username.kind, username.rfc) == (canonical, kind, rfc)


@pytest.mark.spec("PW-8")
@pytest.mark.parametrize(
    "typed",
    [
        "",
        "EKU9013173C9",  # month 13
        "EKU9003323C9",  # 32 March
        "EKU9003173CB",  # the last is a digit or A
        "EKU9003173C9\n",
        "EKU9003173C9\u200b",  # zero width space
        "EKU\u00a09003173C9",  # no-break space
        "EKU\t9003173C9",
        "EKU\u20119003173C9",  # non-breaking hyphen
        "ＥKU9003173C9",  # full-width
        "EKU９003173C9",
        "EKU900317\u0663C9",  # Arabic-Indic digit
        "ЕKU9003173C9",  # Cyrillic
        "uſr.XIA190128J61",  # long s, which upper() turns into S
        "ÁKU9003173C9",
        "CT.CT.KICR630120NX3",
        "CTKICR630120NX3",
        "XX.KICR630120NX3",
        "adm.",
        "adm.a",
        "adm.ñu",
        "adm." + "a" * 21,
        "adm.a.b",
        "' or sleep(3)--",
        "E" * 300,
        "\ud800",
    ],
)
def test_what_is_refused(typed: str) -> None:
    with pytest.raises(MalformedUsername):
        parse_username(typed)


@pytest.mark.spec("PW-8")
def test_prefixes_are_different_users() -> None:
    names = {parse_username(prefix + "XIA190128J61").canonical for prefix in ("", "CT.", "usr.")}
    assert len(names) == 3


@pytest.mark.spec("PW-8")
@given(CANONICAL)
def test_a_canonical_name_is_its_own_spelling(canonical: str) -> None:
    assert parse_username(canonical).canonical == canonical


@pytest.mark.spec("PW-8")
@given(CANONICAL, st.data())
def test_case_spaces_and_hyphens_are_forgiven_anywhere(canonical: str, data: st.DataObject) -> None:
    typed = ""
    for char in unicodedata.normalize(data.draw(st.sampled_from(["NFC", "NFD"])), canonical):
        typed += data.draw(st.sampled_from(["", "", " ", "-", " - "]))
        typed += data.draw(st.sampled_from([char, char.lower(), char.upper()]))
    if " \u0303" not in typed and "-\u0303" not in typed:  # parted from its letter, a tilde is another character
        assert parse_username(typed).canonical == canonical


@pytest.mark.spec("PW-8")
@given(CANONICAL, st.characters(), st.data())
def test_nothing_else_is_folded(canonical: str, strange: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(canonical)))
    replaced = data.draw(st.booleans())
    typed = canonical[:place] + strange + canonical[place + replaced :]
    try:
        found = parse_username(typed).canonical
    except MalformedUsername:
        return
    # Accepted: then the same by NFC, by leaving out spaces and hyphens, and by case of a–z and ñ alone.
    plain = unicodedata.normalize("NFC", typed).replace(" ", "").replace("-", "")
    assert len(plain) == len(found)
    for typed_char, char in zip(plain, found, strict=True):
        assert typed_char == char or (
            {typed_char, char} in ({"ñ", "Ñ"},) or (typed_char.isascii() and typed_char.lower() == char.lower())
        )


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(typed: str) -> None:
    try:
        username = parse_username(typed)
    except MalformedUsername:
        return
    assert parse_username(username.canonical) == username


@pytest.mark.parametrize(
    ("typed", "masked"),
    [
        ("CT.KICR630120NX3", "CT.KIC·······NX3"),
        ("EKU9003173C9", "EKU······3C9"),
        ("usr.XIA190128J61", "usr.XIA······J61"),
        ("adm.demo", "adm.d···"),
    ],
)
def test_masked(typed: str, masked: str) -> None:
    assert parse_username(typed).masked == masked
