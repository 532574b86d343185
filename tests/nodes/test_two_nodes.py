"""What begins at one node ends at the other; what is counted, is counted over both."""

import json
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import pytest
import requests

from idp import policy
from tests.journeys import Page, Person, parameters, read
from tests.nodes.house import ManyNodes
from tests.rig import Rig, at_once
from tests.serving import Client, make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("nodes"), pytest.mark.timeout(240)]

FAILURE, LOCK = "account:signin:failure", "account:lock:set"
BUSY = "busy"


def kid_of(token: str) -> str:
    """The name of the key that signed it."""
    head = token.partition(".")[0]
    return str(json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


def post(person: Person, page: Page, form: str, button: str = "submit", **typed: str) -> Callable[[], str]:
    """Post this form when told to; the screen at which it ends, or that the house was too busy (L-10)."""

    def run() -> str:
        response = person.post(page, form, button, **typed)
        if response.status_code == 503 and "Retry-After" in response.headers:
            return BUSY
        assert response.status_code < 500, response.text[:500]
        return read(person.follow(response)).screen

    return run


def both_work(nodes: ManyNodes, before: Counter[tuple[str, int]]) -> None:
    """Both nodes have answered since, or nothing is proven about two."""
    worked = {name for (name, _), count in nodes.proxy.answered.items() if count > before[name, _]}
    assert worked == {"a", "b"}


@pytest.mark.spec("W-6", "P-7")
def test_a_flow_begun_at_one_node_ends_at_the_other(rig: Rig, nodes: ManyNodes) -> None:
    account, person = rig.add(), rig.person()
    asked = rig.request(rig.foreign)
    with nodes.proxy.through("a"):
        page = person.visit(asked.url)
    with nodes.proxy.through("b"):
        consent = person.send(page, "form-signin", username=account.username, password=account.password)
    assert consent.screen == "consent"
    with nodes.proxy.through("a"):
        answer = person.submit(consent, "form-consent")
        callback = parameters(answer.headers["Location"])
    assert callback["state"] == asked.state
    with nodes.proxy.through("b"):
        status, tokens = rig.call(
            "/oauth/token",
            rig.foreign,
            grant_type="authorization_code",
            code=callback["code"],
            redirect_uri=rig.foreign.redirect_uri,
            code_verifier=asked.verifier,
        )
    assert status == 200, tokens
    with nodes.proxy.through("a"):
        assert rig.is_active(tokens["access_token"], rig.foreign)
        status, again = rig.refresh(tokens, rig.foreign)
        assert status == 200
    with nodes.proxy.through("b"):
        assert rig.is_active(again["refresh_token"], rig.foreign)
        # Signed in at B, and so at A: no form, no second sign-in.
        assert person.open(rig.request(rig.foreign, prompt="none").url).is_redirect


@pytest.mark.spec("C-3")
def test_a_captcha_shown_by_one_node_is_answered_at_the_other(rig: Rig, nodes: ManyNodes) -> None:
    account, person = rig.add(), rig.person()
    with nodes.proxy.through("a"):
        page = person.try_password(account.username, make_password())
    assert page.captcha_image is not None
    with nodes.proxy.through("b"):
        assert person.http.get(urljoin(rig.issuer, page.captcha_image), timeout=30).status_code == 200
        after = person.try_password(account.username, account.password, page)
    assert after.screen == "account"


@pytest.mark.spec("F-1")
def test_a_node_that_is_killed_in_the_middle_leaves_the_flow_to_the_other(rig: Rig, nodes: ManyNodes) -> None:
    account, person = rig.add(), rig.person()
    asked = rig.request()
    with nodes.proxy.through("a"):
        page = person.visit(asked.url)
    nodes.kill_node("a")
    # The proxy finds A gone, and takes B, for every second request.
    answer = person.submit(page, "form-signin", username=account.username, password=account.password)
    callback = parameters(answer.headers["Location"])
    form = {
        "grant_type": "authorization_code",
        "code": callback["code"],
        "redirect_uri": rig.own.redirect_uri,
        "code_verifier": asked.verifier,
    }
    assert rig.call("/oauth/token", rig.own, **form)[0] == 200
    nodes.start_node("a")
    with nodes.proxy.through("a"):
        # What was spent at B while A was away is spent at A.
        assert rig.call("/oauth/token", rig.own, **form)[1]["error"] == "invalid_grant"


@pytest.mark.spec("L-2", "L-1")
def test_of_fifty_guesses_over_both_nodes_three_are_compared(rig: Rig, nodes: ManyNodes) -> None:
    account = rig.add()
    calls = []
    for _ in range(50):
        person = rig.person()
        page = person.try_password(rig.username(), make_password())
        typed = person.solve(page)
        calls.append(post(person, page, "form-signin", username=account.username, password=make_password(), **typed))
    before = Counter(nodes.proxy.answered)
    screens = Counter(at_once(calls))
    both_work(nodes, before)
    assert nodes.count_audit(FAILURE, account.username) == 3
    assert screens["captcha"] == 2
    assert screens["locked"] + screens[BUSY] == 48
    assert nodes.count_audit(LOCK, account.username) == 1
    for name in ("a", "b"):
        with nodes.proxy.through(name):
            assert rig.person().try_password(account.username, account.password).screen == "locked"


@pytest.mark.spec("R-3")
def test_a_link_posted_twenty_times_over_both_nodes_sets_one_password(rig: Rig, nodes: ManyNodes) -> None:
    account = rig.add()
    rig.person().ask_link(account.username)
    link = rig.link(account)
    people = [rig.person() for _ in range(20)]
    passwords = [make_password() for _ in people]
    calls = [
        post(person, person.visit(link), "form-password", new_password=new, new_password_repeat=new)
        for person, new in zip(people, passwords, strict=True)
    ]
    before = Counter(nodes.proxy.answered)
    screens = Counter(at_once(calls))
    both_work(nodes, before)
    assert screens["signin"] == 1, screens
    assert nodes.count_audit("account:password:reset", account.username) == 1
    assert set(screens) <= {"signin", "link-dead", BUSY}


@pytest.mark.spec("P-7")
def test_a_code_redeemed_twenty_times_over_both_nodes_gives_tokens_once(rig: Rig, nodes: ManyNodes) -> None:
    account, asked = rig.add(), rig.request()
    callback = parameters(rig.person().authorize(asked.url, account.username, account.password))
    form = {
        "grant_type": "authorization_code",
        "code": callback["code"],
        "redirect_uri": rig.own.redirect_uri,
        "code_verifier": asked.verifier,
    }
    answers = at_once([lambda: rig.call("/oauth/token", rig.own, **form)] * 20)
    won = [answer for status, answer in answers if status == 200]
    assert len(won) == 1
    assert {answer["error"] for status, answer in answers if status != 200} == {"invalid_grant"}
    # Seen again: all that came of it is dead, at both.
    for name in ("a", "b"):
        with nodes.proxy.through(name):
            assert not rig.is_active(won[0]["access_token"])


@pytest.mark.spec("T-8")
def test_a_refresh_token_spent_twenty_times_over_both_nodes_kills_its_family_at_both(
    rig: Rig, nodes: ManyNodes
) -> None:
    tokens = rig.tokens(rig.person(), rig.add())
    answers = at_once([lambda: rig.refresh(tokens)] * 20)
    won = [answer for status, answer in answers if status == 200]
    assert len(won) == 1
    assert {answer["error"] for status, answer in answers if status != 200} == {"invalid_grant"}
    for name in ("a", "b"):
        with nodes.proxy.through(name):
            assert not rig.is_active(won[0]["refresh_token"])
            assert rig.refresh(won[0])[0] == 400


@pytest.mark.spec("T-11", "F-11")
def test_what_a_rotated_key_signs_at_one_node_verifies_at_the_other_at_once(rig: Rig, nodes: ManyNodes) -> None:
    account, person = rig.add(), rig.person()
    with nodes.proxy.through("b"):
        rig.tokens(person, account)  # B has looked at the folder a moment ago
    made = nodes.doors.keys.rotate(datetime.now(UTC), at_once=True)
    until = time.monotonic() + 10
    with nodes.proxy.through("a"):
        while kid_of((tokens := rig.tokens(person, account))["access_token"]) not in made:
            assert time.monotonic() < until, "A never signs with the new key"
    with nodes.proxy.through("b"):
        assert rig.is_active(tokens["access_token"])
        keys = requests.get(f"{rig.issuer}/oauth/jwks", timeout=10).json()["keys"]
        assert kid_of(tokens["access_token"]) in {key["kid"] for key in keys}


@pytest.mark.spec("W-3", "W-4")
def test_a_session_that_ends_at_one_node_has_ended_at_the_other(rig: Rig, nodes: ManyNodes) -> None:
    account, person = rig.add(), rig.person()
    with nodes.proxy.through("a"):
        tokens = rig.tokens(person, account)
    with nodes.proxy.through("b"):
        assert rig.is_active(tokens["refresh_token"])
        new = make_password()
        rig.person().recover_by_question(account.username, account.answer, new)
    with nodes.proxy.through("a"):
        assert not rig.is_active(tokens["refresh_token"])
        assert person.visit("/account").screen == "signin"
        assert rig.person().try_password(account.username, new).screen == "account"


@pytest.mark.spec("L-5")
def test_a_disabled_person_is_out_at_every_node_at_once(rig: Rig, nodes: ManyNodes) -> None:
    account, person = rig.add(), rig.person()
    tokens = rig.tokens(person, account)
    rig.disable(account)
    for name in ("a", "b"):
        with nodes.proxy.through(name):
            assert not rig.is_active(tokens["access_token"])
            assert person.visit("/account").screen == "signin"


@pytest.mark.spec("M12", "F-6")
def test_with_a_worker_at_each_node_no_mail_goes_twice(rig: Rig, nodes: ManyNodes) -> None:
    accounts = [rig.add() for _ in range(40)]
    at_once([lambda each=each: rig.person().ask_link(each.username) for each in accounts])
    for account in accounts:
        rig.link(account)
    time.sleep(3)  # as many turns of both workers
    for account in accounts:
        assert len(rig.catcher.mails_to(account.email, "Cambio de contraseña")) == 1


@pytest.mark.spec("P-10")
def test_a_client_changed_at_one_node_is_changed_at_the_other_within_the_stated_second(
    rig: Rig, nodes: ManyNodes
) -> None:
    made = nodes.add_client("Efímero", "https://cliente.example/x", "--grant", "client_credentials", "--scope", "rfc")
    for name in ("a", "b"):
        with nodes.proxy.through(name):
            assert rig.call("/oauth/token", made, grant_type="client_credentials")[0] == 200
    with nodes.proxy.through("a"):
        nodes.idp("client", "remove", made.client_id)
    time.sleep(policy.CLIENT_CACHE_LIFETIME.total_seconds() + 0.1)
    with nodes.proxy.through("b"):
        assert rig.call("/oauth/token", made, grant_type="client_credentials")[0] == 401


@pytest.mark.spec("O-5", "S-5")
def test_a_client_is_removed_while_its_tokens_are_refreshed(rig: Rig, nodes: ManyNodes) -> None:
    """Neither waits for the other's rows: a refresh goes through or is refused, and the command ends well."""
    account, person = rig.add(), rig.person()
    for turn in range(3):
        client = rig.provider.add_client(
            f"Pasajera {turn}",
            *(rig.own.redirect_uri, "--first-party", "--grant", "authorization_code", "--grant", "refresh_token"),
            *("--scope", "openid", "--scope", "offline_access"),
        )
        families = [rig.tokens(person, account, client, scope="openid offline_access") for _ in range(6)]

        def go_on(tokens: dict[str, Any], client: Client = client) -> int:
            status = 200
            while status == 200:
                status, tokens = rig.refresh(tokens, client)
            return status

        with ThreadPoolExecutor(len(families)) as pool:
            ends = [pool.submit(go_on, family) for family in families]
            rig.provider.idp("client", "remove", client.client_id)
            assert {end.result(30) for end in ends} <= {400, 401}
