"""Redis is killed, emptied, hangs: who needs it is refused, nobody else notices, nothing comes back to life."""

import signal
import time

import pytest
import requests

from idp.policy import REDIS_PAUSE
from tests.faults.conftest import Grounds
from tests.journeys import parameters
from tests.rig import Rig
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("faults"), pytest.mark.timeout(240)]


def sign_in_status(rig: Rig) -> int:
    """What a sign-in with the right password is answered, in a browser of its own."""
    account, person = rig.add(), rig.person()
    page = person.visit("/login")
    answer = person.post(page, "form-signin", username=account.username, password=account.password)
    if answer.status_code == 503:
        assert int(answer.headers["Retry-After"]) > 0
    return answer.status_code


def wait_until_they_sign_in(rig: Rig) -> None:
    # Each worker finds out by itself, and one that has just failed does not try again for a moment.
    until, in_a_row = time.monotonic() + 15, time.monotonic()
    while time.monotonic() < in_a_row + 2 * REDIS_PAUSE.total_seconds():
        if sign_in_status(rig) != 303:
            in_a_row = time.monotonic()
        assert time.monotonic() < until, "it does not come back"


@pytest.mark.spec("F-9", "O-5", "O-3")
@pytest.mark.parametrize("how", ["killed", "hung"])
def test_without_redis_sign_ins_are_refused_and_applications_go_on(grounds: Grounds, how: str) -> None:
    rig = grounds.rig
    tokens = rig.tokens(rig.person(), rig.add())
    if how == "killed":
        grounds.redis.kill()
    else:
        grounds.redis.signal(signal.SIGSTOP)
    try:
        assert sign_in_status(rig) == 503
        began = time.monotonic()
        assert sign_in_status(rig) == 503
        assert time.monotonic() - began < 10
        # What needs no memory of Redis does not wait for it, so that no node is taken out for nothing.
        assert rig.is_active(tokens["access_token"])
        status, tokens = rig.refresh(tokens)
        assert status == 200
        assert requests.get(f"{rig.issuer}/health/ready", timeout=10).status_code == 200
    finally:
        if how == "killed":
            grounds.redis.start()
        else:
            grounds.redis.signal(signal.SIGCONT)
    wait_until_they_sign_in(rig)


@pytest.mark.spec("F-9", "O-4")
def test_nobody_fills_redis_by_asking(grounds: Grounds) -> None:
    """A Redis that is full refuses every sign-in, so that what a request is full of is kept elsewhere."""
    rig = grounds.rig
    used = next(line for line in grounds.redis.lines("INFO memory") if line.startswith("used_memory:"))
    grounds.redis.call("CONFIG SET maxmemory-policy noeviction")
    grounds.redis.call(f"CONFIG SET maxmemory {int(used.partition(':')[2]) + 1_000_000}")
    try:
        large = {f"of_no_use_{number}": "x" * 15_000 for number in range(4)}
        asked = dict(parameters(rig.request().url)) | large
        for _ in range(40):
            answer = requests.post(f"{rig.issuer}/oauth/authorize", data=asked, allow_redirects=False, timeout=30)
            assert answer.status_code == 303
            assert rig.call("/oauth/par", rig.own, **asked)[0] == 201
        assert sign_in_status(rig) == 303
    finally:
        grounds.redis.call("CONFIG SET maxmemory 0")


@pytest.mark.spec("F-9", "L-1", "P-7")
@pytest.mark.parametrize("how", ["emptied", "restarted"])
def test_what_redis_forgets_opens_no_lock_and_no_code(grounds: Grounds, how: str) -> None:
    rig = grounds.rig
    account, asked = rig.add(), rig.request()
    callback = parameters(rig.person().authorize(asked.url, account.username, account.password))
    form = {
        "grant_type": "authorization_code",
        "code": callback["code"],
        "redirect_uri": rig.own.redirect_uri,
        "code_verifier": asked.verifier,
    }
    assert rig.call("/oauth/token", rig.own, **form)[0] == 200
    locked, stranger = rig.add(), rig.person()
    page = None
    for _ in range(3):
        page = stranger.try_password(locked.username, make_password(), page)
    waiting = rig.person()
    shown = waiting.try_password(rig.username(), make_password())
    assert shown.captcha_image is not None
    solved = waiting.solve(shown)
    if how == "emptied":
        grounds.redis.call("FLUSHALL")
    else:
        grounds.redis.kill()
        grounds.redis.start()
        wait_until_they_sign_in(rig)
    assert rig.call("/oauth/token", rig.own, **form)[1]["error"] == "invalid_grant"
    assert rig.person().try_password(locked.username, locked.password).screen == "locked"
    # The image that was open is open no more; the person is shown another.
    other = rig.add()
    again = waiting.send(shown, "form-signin", username=other.username, password=other.password, **solved)
    assert again.screen == "captcha"
    assert rig.provider.count_audit("account:signin:success", other.username) == 0
    assert waiting.try_password(other.username, other.password, again).screen == "account"
