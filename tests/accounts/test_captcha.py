"""CAPTCHA challenges: whose they are, how long they live, what answers them, and how often."""

import base64
import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from idp import policy
from idp.accounts.attempts import CaptchaAnswer
from idp.accounts.captcha import Captcha
from idp.accounts.errors import AddressThrottled, CaptchaProblem, CaptchaRefused
from idp.captcha_media.image import ALPHABET
from idp.db import Store
from idp.ephemeral import Ephemeral, EphemeralValue

KEY = b"a key for tests, which answers nothing"
BROWSER = "browser-one"
OTHER = "browser-two"
ADDRESS = "192.0.2.7"
WRONG = "999999"


@pytest.fixture
def captcha(store: Store) -> Captcha:
    return Captcha(Ephemeral(store), KEY)


def answer(captcha: Captcha, handle: str) -> CaptchaAnswer:
    return CaptchaAnswer(handle, captcha.characters(handle))


def refusal(captcha: Captcha, browser: str | None, given: CaptchaAnswer | None, now: datetime) -> CaptchaProblem:
    with pytest.raises(CaptchaRefused) as refused:
        captcha.take(browser, given, now)
    return refused.value.problem


@pytest.mark.spec("C-3", "D-44")
def test_a_right_answer_is_taken_once(captcha: Captcha, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    assert captcha.is_open(BROWSER, handle, now)
    captcha.take(BROWSER, answer(captcha, handle), now)
    assert not captcha.is_open(BROWSER, handle, now)
    assert refusal(captcha, BROWSER, answer(captcha, handle), now) is CaptchaProblem.EXPIRED


@pytest.mark.spec("C-3", "D-44")
def test_a_wrong_answer_ends_it_too(captcha: Captcha, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    assert refusal(captcha, BROWSER, CaptchaAnswer(handle, "AAAA"), now) is CaptchaProblem.WRONG
    assert refusal(captcha, BROWSER, answer(captcha, handle), now) is CaptchaProblem.EXPIRED


@pytest.mark.spec("C-3", "D-44")
def test_it_belongs_to_the_browser_that_saw_it(captcha: Captcha, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    captcha.issue(OTHER, now)
    assert not captcha.is_open(OTHER, handle, now)
    assert refusal(captcha, OTHER, answer(captcha, handle), now) is CaptchaProblem.WRONG
    # Nor does a stranger's try use it up.
    captcha.take(BROWSER, answer(captcha, handle), now)


@pytest.mark.spec("C-3", "D-44")
def test_it_dies_at_its_end(captcha: Captcha, now: datetime) -> None:
    in_time, late = captcha.issue(BROWSER, now), captcha.issue(BROWSER, now)
    end = now + policy.CAPTCHA_LIFETIME
    captcha.take(BROWSER, answer(captcha, in_time), end - timedelta(seconds=1))
    assert not captcha.is_open(BROWSER, late, end)
    assert refusal(captcha, BROWSER, answer(captcha, late), end) is CaptchaProblem.EXPIRED


@pytest.mark.spec("C-3")
@pytest.mark.parametrize("missing", [None, CaptchaAnswer("x", ""), CaptchaAnswer("x", " \t")])
def test_nothing_typed_is_no_answer(captcha: Captcha, now: datetime, missing: CaptchaAnswer | None) -> None:
    assert refusal(captcha, BROWSER, missing, now) is CaptchaProblem.REQUIRED


def test_an_empty_field_leaves_the_challenge_open(captcha: Captcha, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    assert refusal(captcha, BROWSER, CaptchaAnswer(handle, " "), now) is CaptchaProblem.REQUIRED
    captcha.take(BROWSER, answer(captcha, handle), now)


def test_who_has_no_session_has_no_challenge(captcha: Captcha, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    assert refusal(captcha, None, answer(captcha, handle), now) is CaptchaProblem.REQUIRED


@pytest.mark.spec("C-3")
def test_nobody_makes_a_handle(captcha: Captcha, store: Store, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    for forged in (
        "",
        "x" * 44,
        "ñ" * 44,
        handle[:-1],
        handle + "A",
        ("A" if handle[0] != "A" else "B") + handle[1:],
        handle[:-4] + "AAAA",
        Captcha(Ephemeral(store), b"another key").issue(BROWSER, now),
    ):
        assert not captcha.is_open(BROWSER, forged, now)
    assert refusal(captcha, BROWSER, answer(captcha, "x" * 44), now) is CaptchaProblem.WRONG


@pytest.mark.parametrize(
    "typed",
    [str.lower, lambda text: f" {text[:2]} {text[2:]}\t", str.upper],
    ids=["lower case", "spaces", "upper case"],
)
def test_case_and_spaces_do_not_matter(captcha: Captcha, now: datetime, typed: Callable[[str], str]) -> None:
    handle = captcha.issue(BROWSER, now)
    right = captcha.characters(handle)
    other = ("A" if right[0] != "A" else "B") + right[1:]
    assert refusal(captcha, BROWSER, CaptchaAnswer(handle, typed(other)), now) is CaptchaProblem.WRONG
    handle = captcha.issue(BROWSER, now)
    same = CaptchaAnswer(handle, typed(captcha.characters(handle)))
    captcha.take(BROWSER, same, now)
    assert refusal(captcha, BROWSER, same, now) is CaptchaProblem.EXPIRED  # it was taken


@pytest.mark.spec("C-6", "D-79")
def test_the_digits_answer_the_same_challenge_by_the_same_rules(captcha: Captcha, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    heard = CaptchaAnswer(handle, captcha.digits(handle))
    assert refusal(captcha, OTHER, heard, now) is CaptchaProblem.WRONG
    captcha.take(BROWSER, heard, now)
    assert refusal(captcha, BROWSER, heard, now) is CaptchaProblem.EXPIRED
    assert refusal(captcha, BROWSER, answer(captcha, handle), now) is CaptchaProblem.EXPIRED


@pytest.mark.spec("C-6", "D-79")
def test_the_digits_die_with_the_image(captcha: Captcha, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now)
    late = now + policy.CAPTCHA_LIFETIME
    heard = CaptchaAnswer(handle, captcha.digits(handle))
    assert refusal(captcha, BROWSER, heard, late) is CaptchaProblem.EXPIRED


@pytest.mark.spec("C-6")
def test_answers_have_the_strength_that_was_decided(captcha: Captcha, now: datetime) -> None:
    handles = [captcha.issue(f"browser-{n}", now) for n in range(30)]
    characters, digits = [captcha.characters(each) for each in handles], [captcha.digits(each) for each in handles]
    assert all(re.fullmatch(f"[{ALPHABET}]{{{policy.CAPTCHA_LENGTH}}}", each) for each in characters)
    assert all(re.fullmatch(f"[0-9]{{{policy.CAPTCHA_DIGITS}}}", each) for each in digits)
    assert len(set(characters)) == len(set(digits)) == len(handles)
    assert set("".join(characters)) == set(ALPHABET)


@pytest.mark.spec("C-5")
def test_five_live_and_the_oldest_dies(captcha: Captcha, now: datetime) -> None:
    handles = [captcha.issue(BROWSER, now) for _ in range(policy.CAPTCHA_LIVE_MAX)]
    assert all(captcha.is_open(BROWSER, each, now) for each in handles)
    newest = captcha.issue(BROWSER, now)
    assert [captcha.is_open(BROWSER, each, now) for each in [*handles, newest]] == [False] + [True] * len(handles)
    assert refusal(captcha, BROWSER, answer(captcha, handles[0]), now) is CaptchaProblem.EXPIRED
    captcha.take(BROWSER, answer(captcha, handles[1]), now)


@pytest.mark.spec("C-5")
def test_an_address_may_ask_for_so_many(captcha: Captcha, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "CAPTCHA_ISSUED_MAX", 3)
    for n in range(3):
        captcha.issue(f"browser-{n}", now, address=ADDRESS)
    with pytest.raises(AddressThrottled):
        captcha.issue(BROWSER, now, address=ADDRESS)
    captcha.issue(BROWSER, now, address="192.0.2.8")
    captcha.issue(BROWSER, now, address=None)
    captcha.issue(BROWSER, now + policy.CAPTCHA_ISSUED_WINDOW, address=ADDRESS)


@pytest.mark.spec("C-5")
@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
    ],
)
def test_of_ipv6_the_network_counts(
    captcha: Captcha, now: datetime, monkeypatch: pytest.MonkeyPatch, first: str, second: str, is_same: bool
) -> None:
    monkeypatch.setattr(policy, "CAPTCHA_ISSUED_MAX", 1)
    captcha.issue(BROWSER, now, address=first)
    if is_same:
        with pytest.raises(AddressThrottled):
            captcha.issue(BROWSER, now, address=second)
    else:
        captcha.issue(BROWSER, now, address=second)


@pytest.mark.spec("ux §5")
def test_who_is_wrong_five_times_waits(captcha: Captcha, now: datetime) -> None:
    for _ in range(policy.CAPTCHA_WRONG_MAX):
        given = CaptchaAnswer(captcha.issue(BROWSER, now), WRONG[:4])
        assert refusal(captcha, BROWSER, given, now) is CaptchaProblem.WRONG
    handle = captcha.issue(BROWSER, now)
    with pytest.raises(AddressThrottled) as waiting:
        captcha.take(BROWSER, answer(captcha, handle), now + timedelta(seconds=10))
    assert waiting.value.retry_after == policy.CAPTCHA_WRONG_WAIT - timedelta(seconds=10)
    # Another browser does not wait, and this one's challenge is not used up by having waited.
    captcha.take(OTHER, answer(captcha, captcha.issue(OTHER, now)), now)
    captcha.take(BROWSER, answer(captcha, handle), now + policy.CAPTCHA_WRONG_WAIT)


@pytest.mark.spec("C-2", "D-45")
def test_the_answer_is_in_no_handle_and_not_in_the_store(captcha: Captcha, store: Store, now: datetime) -> None:
    handle = captcha.issue(BROWSER, now, address=ADDRESS)
    characters, digits = captcha.characters(handle), captcha.digits(handle)
    raw = base64.urlsafe_b64decode(handle)
    with store.read() as connection:
        rows = connection.execute(select(EphemeralValue.__table__)).all()
    assert rows
    for place in (handle, raw.decode("latin-1"), raw.hex(), repr(rows)):
        assert characters not in place
        assert digits not in place
    assert handle not in repr(rows)
    assert BROWSER not in repr(rows)


@pytest.mark.spec("C-2")
def test_image_and_sound_are_the_same_each_time_and_of_no_use_elsewhere(
    captcha: Captcha, store: Store, now: datetime
) -> None:
    handle, another = captcha.issue(BROWSER, now), captcha.issue(BROWSER, now)
    again = Captcha(Ephemeral(store), KEY)  # another process
    assert captcha.image(handle, now) == again.image(handle, now) != captcha.image(another, now)
    assert captcha.sound(handle, "en", now) == again.sound(handle, "en", now) != captcha.sound(another, "en", now)
    foreign = Captcha(Ephemeral(store), b"another key")
    assert foreign.characters(handle) != captcha.characters(handle)
    assert foreign.image(handle, now) != captcha.image(handle, now)


@pytest.mark.spec("C-5")
@pytest.mark.parametrize("kind", ["image", "sound"])
def test_who_asks_for_more_than_is_remembered_is_not_drawn_for_without_end(
    store: Store, now: datetime, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made: list[str] = []

    def make(text: str, *_more: object) -> bytes:
        made.append(text)
        return text.encode()

    monkeypatch.setattr("idp.accounts.captcha.draw", make)
    monkeypatch.setattr("idp.accounts.captcha.speak", make)
    monkeypatch.setattr(policy, "CAPTCHA_RENDERED_MAX", 2)
    captcha = Captcha(Ephemeral(store), KEY)
    handles = [captcha.issue(f"browser-{number}", now) for number in range(70)]

    def ask(handle: str, at: datetime) -> bytes:
        return captcha.image(handle, at) if kind == "image" else captcha.sound(handle, "es-MX", at)

    for _ in range(50):  # the same one costs once
        ask(handles[0], now)
    assert len(made) == 1
    for _ in range(policy.CAPTCHA_RENDERED_MAX):
        for handle in handles:
            ask(handle, now)
    with pytest.raises(AddressThrottled):
        ask(handles[1], now)
    assert made.count(captcha.characters(handles[1]) if kind == "image" else captcha.digits(handles[1])) == 2
    assert ask(captcha.issue(BROWSER, now), now)  # a fresh one is another matter
