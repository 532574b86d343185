"""The CAPTCHA: when it is due, what it lets past, and that its answer is nowhere to be read."""

import pytest
import requests

from tests.journeys import Page, Person
from tests.rig import Account, Rig, alert_or_screen
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("attacks-2")]

FAILURE, SUCCESS = "account:signin:failure", "account:signin:success"


@pytest.fixture
def account(rig: Rig) -> Account:
    return rig.add()


@pytest.fixture
def failed(rig: Rig, account: Account) -> tuple[Person, Page]:
    """A browser in which the account has failed once, and the page that then stands open."""
    person = rig.person()
    page = person.try_password(account.username, make_password())
    assert alert_or_screen(page) == "captcha alert"
    return person, page


def is_compared(rig: Rig, account: Account) -> tuple[int, int]:
    """Each comparison of a password leaves one row of these."""
    return rig.provider.count_audit(FAILURE, account.username), rig.provider.count_audit(SUCCESS, account.username)


@pytest.mark.spec("D-78", "C-1", "M3")
def test_it_is_due_from_the_first_failure_for_the_name_and_for_the_browser(rig: Rig, account: Account) -> None:
    person, other = rig.person(), rig.add()
    page = person.visit("/login")
    assert (page.screen, page.captcha_image) == ("signin", None)
    person.try_password(account.username, make_password())
    # In this browser for any name, and after clearing its cookies still for that name.
    assert person.visit("/login").captcha_image is not None
    page = person.visit("/login")
    refused = person.send(page, "form-signin", username=other.username, password=other.password)
    assert (refused.screen, "alert" in refused.ids) == ("captcha", False)
    stranger = rig.person()
    page = stranger.visit("/login")
    assert page.captcha_image is None
    page = stranger.send(page, "form-signin", username=account.username, password=account.password)
    assert (page.screen, "alert" in page.ids) == ("captcha", False)
    assert is_compared(rig, account) == (1, 0)
    assert is_compared(rig, other) == (0, 0)


@pytest.mark.spec("D-44", "C-4")
@pytest.mark.parametrize("answer", [None, "", "AAAAA", "999999", "A" * 5000])
def test_without_the_right_answer_nothing_is_compared(
    rig: Rig, account: Account, failed: tuple[Person, Page], answer: str | None
) -> None:
    person, page = failed
    for password in (account.password, make_password()):
        before = is_compared(rig, account)
        typed = {} if answer is None else {"captcha": answer}
        after = person.send(page, "form-signin", username=account.username, password=password, **typed)
        assert alert_or_screen(after) == "captcha"
        assert is_compared(rig, account) == before
        page = after
    solved = person.send(
        page, "form-signin", username=account.username, password=account.password, **person.solve(page)
    )
    assert solved.screen == "account"


@pytest.mark.spec("D-44", "C-3")
def test_an_answer_is_good_once(rig: Rig, account: Account, failed: tuple[Person, Page]) -> None:
    person, page = failed
    typed = person.solve(page)
    again = person.send(page, "form-signin", username=account.username, password=make_password(), **typed)
    assert alert_or_screen(again) == "captcha alert"
    before = is_compared(rig, account)
    # The same challenge and answer once more, in the form that carries a fresh CSRF token.
    again.forms["form-signin"].values["captcha_handle"] = page.forms["form-signin"].values["captcha_handle"]
    third = person.send(again, "form-signin", username=account.username, password=account.password, **typed)
    assert alert_or_screen(third) == "captcha"
    assert is_compared(rig, account) == before


@pytest.mark.spec("D-44", "C-3")
def test_a_wrong_answer_spends_the_challenge(rig: Rig, account: Account, failed: tuple[Person, Page]) -> None:
    person, page = failed
    right = person.solve(page)
    after = person.send(page, "form-signin", username=account.username, password=account.password, captcha="AAAAA")
    after.forms["form-signin"].values["captcha_handle"] = page.forms["form-signin"].values["captcha_handle"]
    late = person.send(after, "form-signin", username=account.username, password=account.password, **right)
    assert alert_or_screen(late) == "captcha"
    assert is_compared(rig, account) == (1, 0)


@pytest.mark.spec("D-44", "C-3")
def test_another_browsers_challenge_is_worth_nothing(rig: Rig, account: Account, failed: tuple[Person, Page]) -> None:
    person, page = failed
    farm = rig.person()
    harvested = farm.try_password(rig.username(), make_password())
    typed = farm.solve(harvested)
    page.forms["form-signin"].values["captcha_handle"] = harvested.forms["form-signin"].values["captcha_handle"]
    after = person.send(page, "form-signin", username=account.username, password=account.password, **typed)
    assert alert_or_screen(after) == "captcha"
    assert is_compared(rig, account) == (1, 0)


@pytest.mark.spec("D-45", "C-2")
def test_its_answer_is_not_to_be_read_anywhere(rig: Rig, failed: tuple[Person, Page]) -> None:
    person, page = failed
    assert page.captcha_image is not None
    handle = page.forms["form-signin"].values["captcha_handle"]
    answers = {rig.provider.solve(page.captcha_image), digits_of(rig, page)}
    image = person.http.get(page.captcha_image, timeout=30)
    assert image.headers["Content-Type"] == "image/png"
    assert image.headers["Cache-Control"].startswith("no-store")
    sound = person.http.get(audio_of(page), timeout=30)
    assert sound.status_code == 200
    said = [page.source, page.captcha_image, audio_of(page), str(person.http.cookies.get_dict()), handle]
    said += [f"{name}: {value}" for each in (image, sound) for name, value in each.headers.items()]
    for answer in answers:
        assert not [text for text in said if answer.casefold() in text.casefold()]
        assert answer.encode() not in sound.content
    # A PNG of nothing but what draws it: no text, no time, no comment.
    assert chunks_of(image.content) <= {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
    everything = str([rig.provider.query(f"SELECT * FROM {table}") for table in ("ephemeral", "sign_in_session")])
    assert len(everything) > 1000, "there is something to look through"
    assert not [answer for answer in answers if answer in everything]


def chunks_of(png: bytes) -> set[bytes]:
    kinds, place = set(), 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        kinds.add(png[place + 4 : place + 8])
        place += length + 12
    return kinds


def audio_of(page: Page) -> str:
    assert page.captcha_audio is not None
    return page.captcha_audio


def digits_of(rig: Rig, page: Page) -> str:
    return rig.provider.solve(audio_of(page))


@pytest.mark.spec("D-79", "C-6")
def test_what_is_heard_is_as_good_as_what_is_read_and_no_better(
    rig: Rig, account: Account, failed: tuple[Person, Page]
) -> None:
    person, page = failed
    digits = digits_of(rig, page)
    assert digits.isdigit()
    # Spent by the ear it is spent for the eye, and the other way round.
    after = person.send(page, "form-signin", username=account.username, password=make_password(), captcha=digits)
    assert alert_or_screen(after) == "captcha alert"
    before = is_compared(rig, account)
    stale = page.forms["form-signin"].values["captcha_handle"]
    after.forms["form-signin"].values["captcha_handle"] = stale
    for answer in (digits, rig.provider.solve(str(page.captcha_image))):
        again = person.send(after, "form-signin", username=account.username, password=account.password, captcha=answer)
        assert alert_or_screen(again) == "captcha"
        after = again
        after.forms["form-signin"].values["captcha_handle"] = stale
    assert is_compared(rig, account) == before


@pytest.mark.spec("D-79", "C-3")
def test_neither_image_nor_sound_is_given_to_another_browser(rig: Rig, failed: tuple[Person, Page]) -> None:
    person, page = failed
    for url in (str(page.captcha_image), audio_of(page)):
        assert person.http.get(url, timeout=30).status_code == 200
        assert rig.person().http.get(url, timeout=30).status_code == 404
        assert requests.get(url, timeout=30).status_code == 404


@pytest.mark.spec("C-5")
def test_a_browser_has_five_challenges_open_and_the_oldest_dies(rig: Rig, failed: tuple[Person, Page]) -> None:
    person, page = failed
    images = [str(page.captcha_image)]
    for _ in range(5):
        page = person.send(page, "form-captcha-refresh", "captcha-refresh")
        images.append(str(page.captcha_image))
    assert len(set(images)) == 6
    statuses = [person.http.get(url, timeout=30).status_code for url in images]
    assert statuses == [404, *[200] * 5]


@pytest.mark.spec("C-6", "M3")
def test_a_finished_reset_is_the_way_round_for_who_can_use_neither(
    rig: Rig, account: Account, failed: tuple[Person, Page]
) -> None:
    person, page = failed
    assert f"{rig.issuer}/recover" in [link.partition("?")[0] for link in page.links]
    # A wrong answer to the image leaves its own mark on the browser, which goes too.
    person.send(page, "form-signin", username=account.username, password=account.password, captcha="AAAAA")
    new = make_password()
    assert person.ask_link(account.username).screen == "sent"
    after = person.recover_by_mail(rig.link(account), new)
    assert (after.screen, after.captcha_image) == ("signin", None)
    assert person.send(after, "form-signin", username=account.username, password=new).screen == "account"
