"""What a new password must be, and what hashing promises."""

import threading
import time
from datetime import timedelta

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type
from hypothesis import given
from hypothesis import strategies as st

from idp import policy
from idp.accounts.errors import HashingOverloaded, PasswordRefused, PasswordRule
from idp.accounts.passwords import Hasher, check_new_password, is_known, normalise_answer, normalise_password
from idp.accounts.usernames import parse_username

BRAND = ("e-FACTURA", "SERES de México")


def broken(password: str, username: str = "CT.KICR630120NX3") -> tuple[PasswordRule, ...]:
    try:
        check_new_password(password, username=parse_username(username), brand_words=BRAND)
    except PasswordRefused as refusal:
        return refusal.broken
    return ()


@pytest.mark.spec("PW-1")
@pytest.mark.parametrize(
    ("password", "rules"),
    [
        ("Nieve.Tibia7", ()),
        ("NIEVE.TIBIA7", ()),  # no lower-case letter is asked for
        ("Ni.vetb7", ()),
        ("Ni.vet7", (PasswordRule.LENGTH,)),
        ("nieve.tibia7", (PasswordRule.UPPER,)),
        ("Nieve.Tibia", (PasswordRule.DIGIT,)),
        ("NieveTibia7", (PasswordRule.PUNCT,)),
        ("Nieve Tibia7", (PasswordRule.PUNCT,)),  # a space is no mark
        ("nv", (PasswordRule.LENGTH, PasswordRule.UPPER, PasswordRule.DIGIT, PasswordRule.PUNCT)),
        ("nieve$tibiaÑ7", ()),
        ("Nieve+tibia7", ()),
        ("Nieve·tibia7", ()),
        ("¿Nieve tibia7", ()),
        ("Nieve.tibia٧", ()),  # Arabic-Indic seven
        ("Ωnieve=tibia7", ()),
        ("😀Nieve tibia7", ()),
    ],
)
def test_rules_of_the_manual(password: str, rules: tuple[PasswordRule, ...]) -> None:
    assert broken(password) == rules


@pytest.mark.spec("PW-2")
def test_length_is_bounded_in_code_points() -> None:
    longest = "Ñ.7" + "pozo y nube " * 10 + "cinco"
    assert len(longest) == 128
    assert broken(longest) == ()
    assert broken(longest + "x") == (PasswordRule.TOO_LONG,)


@pytest.mark.spec("PW-3")
@pytest.mark.parametrize(
    "char",
    ["\0", "\t", "\n", "\x7f", "\x85", "\u200b", "\u200d", "\u2028", "\ufeff", "\ufe0f", "\u3164", "\ue000", "\u0378"],
)
def test_control_and_invisible_characters_are_refused_not_dropped(char: str) -> None:
    assert broken(f"Nieve.{char}Tibia7") == (PasswordRule.CONTROL,)


@pytest.mark.spec("PW-3")
def test_opaque_string() -> None:
    assert normalise_password("con\u00a0 x") == "con  x"
    assert normalise_password("pin\u0303ata") == "piñata"
    assert normalise_password("a\u3000b\u2003c") == "a b c"
    assert normalise_password("  Abc ") == "  Abc "
    assert normalise_password("ＡＢＣ") == "ＡＢＣ"


@pytest.mark.spec("PW-3")
@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text: str) -> None:
    normal = normalise_password(text)
    if normal is not None:
        assert normalise_password(normal) == normal


@pytest.mark.spec("PW-4")
@pytest.mark.parametrize(
    ("password", "username"),
    [
        ("KICR630120NX3.x", "CT.KICR630120NX3"),
        ("x.kicr630120nx3.X", "CT.KICR630120NX3"),
        ("ct.KicR-630120-nx3", "CT.KICR630120NX3"),
        ("Soy.KICR630120", "CT.KICR630120NX3"),
        ("Xia190128-j61!", "usr.XIA190128J61"),
        ("Pez.operador7", "adm.operador"),
        ("Ñ&O000229AAA.", "Ñ&O000229AAA"),
    ],
)
def test_neither_username_nor_rfc(password: str, username: str) -> None:
    assert PasswordRule.NOT_RFC in broken(password, username)


@pytest.mark.spec("PW-4")
@pytest.mark.parametrize("password", ["Efactura.2026", "MiE-Factura1", "seres.MEXICO9", "$3res.Tibios", "Los.Seres9"])
def test_not_the_brand(password: str) -> None:
    assert PasswordRule.COMMON in broken(password)


@pytest.mark.spec("PW-4")
@pytest.mark.parametrize(
    "password",
    [
        "P@ssw0rd",
        "Password1!",
        "Passw0rd!",
        "Pa$$w0rd1",
        "Qwerty123!",
        "Welcome1!",
        "Admin123!",
        "Contraseña1!",
        "Contrasena2026.",
        "Mexico2026!",
        "Enero2026.",
        "Enero2027.",
        "1qaz!QAZ",
        "!QAZ2wsx",
        "Zaq1@wsx",
        "1qaz@WSX",
        "Abc123!@#",
        "Abcd1234!",
        "Abc123.2026",
        "Aa123456.",
        "Aa@123456",
        "P@$$w0rd",
        "Hola1234.",
        "Iloveyou1!",
        "Factura2026!",
        "Guadalupe12.",
        "Chivas.2024",
        "Dragon.2019",
        "DragonDragon1!",
        "A1b2c3d4!",
        "Maria.1985",
        "Cambiar1.",
        "!Q2w3e4r",
        "Q1w2e3r4!",
        "Asdf1234!",
        "123456Aa!",
        "Summer2024!",
        "A123456.",
        "Aaaaaa1!",
    ],
)
def test_known_passwords_are_refused(password: str) -> None:
    assert PasswordRule.COMMON in broken(password)


@pytest.mark.spec("PW-4")
def test_the_list_has_three_thousand_that_would_fit() -> None:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    fitting = [
        word.capitalize() + "1." for word in FREQUENCY_LISTS["passwords"] if len(word) >= 6 and word[0].isalpha()
    ][:3000]
    assert len(fitting) == 3000
    assert [each for each in fitting if not is_known(each)] == []


@pytest.mark.spec("PW-4")
@pytest.mark.parametrize(
    "password",
    ["Nieve.Tibia7", "Mi dragon come 7 panes.", "xK7$qW2!pL", "Tres.Tristes.Tigres3", "Enero y junio 7 veces!"],
)
def test_a_common_word_among_others_is_fine(password: str) -> None:
    assert broken(password) == ()


@pytest.mark.spec("Q-4")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("José Pérez", "jose  PEREZ."),
        ("Calle 5, #12", "calle 5 # 12"),
        ("Straße", "STRASSE"),
        ("  El   Tri ", "el-tri"),
        ("pin\u0303ata", "Piñata"),
    ],
)
def test_answers_that_are_the_same(one: str, other: str) -> None:
    assert normalise_answer(one) == normalise_answer(other)


def test_answers_that_are_not_the_same() -> None:
    assert normalise_answer("Ana Luisa") != normalise_answer("Analuisa")


@given(st.text(max_size=30))
def test_normalising_an_answer_twice_changes_nothing(text: str) -> None:
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


@pytest.mark.spec("L-10")
def test_hashes_are_argon2id_at_the_floor() -> None:
    hasher = Hasher(1)
    hashed = hasher.hash("Pin\u0303ata.7")
    found = extract_parameters(hashed)
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 19456, 2, 1)
    assert hasher.verify("Piñata.7", hashed)
    assert not hasher.verify("piñata.7", hashed)
    assert not hasher.verify("Piñata.7 ", hashed)
    assert not hasher.needs_rehash(hashed)
    assert hasher.needs_rehash(hashed.replace("t=2", "t=1"))


@pytest.mark.spec("PW-2")
def test_all_of_128_characters_matter() -> None:
    hasher = Hasher(1)
    longest = "x" * 128
    hashed = hasher.hash(longest)
    assert hasher.verify(longest, hashed)
    assert not hasher.verify("x" * 127 + "y", hashed)
    assert not hasher.verify(longest + "x", hashed)


@pytest.mark.parametrize("password", ["x" * 129, "Nieve.\0Tibia7"])
def test_what_was_not_checked_is_not_hashed(password: str) -> None:
    with pytest.raises(ValueError, match="not checked"):
        Hasher(1).hash(password)


@pytest.mark.parametrize("password", ["", "x", "Nieve.\0Tibia7", "x" * 5000])
def test_nobody_has_a_password_that_opens_no_account(password: str) -> None:
    assert not Hasher(1).verify(password, None)


@pytest.mark.filterwarnings("default")
def test_a_hash_that_cannot_be_read_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert not Hasher(1).verify("Nieve.Tibia7", "$1$unknown$hash")
    assert "cannot be read" in caplog.text
    assert "unknown" not in caplog.text


@pytest.mark.spec("L-9")
def test_an_unknown_user_costs_as_much_as_a_known_one() -> None:
    hasher = Hasher(1)
    hashed = hasher.hash("Nieve.Tibia7")

    def cost(stored: str | None) -> float:
        begun = time.process_time()
        hasher.verify("Nieve.Tibia8", stored)
        return time.process_time() - begun

    known, unknown = (sorted(cost(stored) for _ in range(9))[4] for stored in (hashed, None))
    assert 0.5 < known / unknown < 2


@pytest.mark.spec("L-10")
def test_who_waits_too_long_for_a_slot_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PASSWORD_HASH_WAIT", timedelta(seconds=0.02))
    hasher = Hasher(1)
    inside, leave = threading.Event(), threading.Event()

    def slow(*_: object) -> bool:
        inside.set()
        return leave.wait(10)

    monkeypatch.setattr(PasswordHasher, "verify", slow)
    first = threading.Thread(target=hasher.verify, args=("x", None))
    first.start()
    try:
        assert inside.wait(10)
        with pytest.raises(HashingOverloaded) as refusal:
            hasher.verify("y", None)
        assert refusal.value.retry_after == policy.RETRY_AFTER
    finally:
        leave.set()
        first.join()
    assert not hasher.verify("z", None)  # the slot is free again
