"""Relying parties at work while something goes wrong: what they were told is kept, and compared afterwards."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.journeys import Person, parameters
from tests.rig import Account, Rig, at_once
from tests.serving import make_password

WAIT = 30.0
PAUSE = 0.05  # seconds after a 503; a real client waits longer
UNANSWERED = 599
"""What stands for a connection that was refused, or ended without an answer, or in the middle of one."""
NO_ANSWER = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@dataclass
class Told:
    """What the clients were told."""

    statuses: Counter[int] = field(default_factory=Counter)
    entered: int = 0
    """Sign-ins that ended at the account."""
    reset: int = 0
    """Passwords that were reset by the secret question."""
    redeemed: int = 0
    """Codes for which tokens came."""
    refreshed: int = 0
    """Refresh tokens for which others came."""
    twice: int = 0
    """Codes for which tokens came twice: none."""
    living: list[dict[str, Any]] = field(default_factory=list)
    """The last tokens of each family about which nobody was left in doubt."""
    spent: list[dict[str, Any]] = field(default_factory=list)
    """Tokens of these families that were spent, acknowledged."""
    last_success: float = 0.0
    last_refusal: float = 0.0
    in_doubt: int = 0
    """Requests that were refused, or not answered: what they asked for may have been done."""


class Load:
    """Threads that redeem and refresh until they are told to stop; people who sign in and reset, if asked for."""

    def __init__(self, rig: Rig, *, keepers: int, racers: int, people: int, allowed: frozenset[int]) -> None:
        self._rig = rig
        self._allowed = {200, 400} | allowed
        self.told = Told()
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        works: list[Callable[[Person, Account], None]] = [*[self._keep] * keepers, *[self._race] * racers]
        self._threads = [
            threading.Thread(target=self._run, args=(work, rig.person(), rig.add()), daemon=True)
            for work in [self._enter, self._reset] * people
        ]
        for work in works:
            account, person = rig.add(), rig.person()
            person.authorize(rig.request().url, account.username, account.password)
            self._threads.append(threading.Thread(target=self._run, args=(work, person, account), daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> Told:
        """End what has begun; what was told meanwhile."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request hangs"
        self._look_for_failures()
        return self.told

    def wait_for_success(self, *, since: float, within: float) -> float:
        """Seconds from `since` until the first success after it."""
        while self.told.last_success < since:
            self._look_for_failures()
            assert time.monotonic() < since + within, f"no success: {self.told.statuses} {self.failures}"
            time.sleep(0.02)
        return self.told.last_success - since

    def wait_for_calm(self, *, within: float, lasting: float = 1.0) -> float:
        """Seconds until the last refusal, once nobody was refused, and some were served, for `lasting`.

        One success is one connection that was replaced: what has healed refuses nobody any more. Zero: it was calm.
        """
        began = time.monotonic()
        while True:
            self._look_for_failures()
            now, last = time.monotonic(), max(self.told.last_refusal, began)
            if now - last >= lasting and self.told.last_success > last:
                return last - began
            assert last - began < within, f"not calm: {self.told.statuses}"
            assert now - began < within + WAIT, f"no success: {self.told.statuses}"
            time.sleep(0.02)

    def _look_for_failures(self) -> None:
        if self.failures:
            raise self.failures[0]

    def _run(self, work: Callable[[Person, Account], None], person: Person, account: Account) -> None:
        try:
            while not self._stop.is_set():
                refused = self.told.in_doubt
                work(person, account)
                if refused != self.told.in_doubt and work in (self._enter, self._reset):
                    # An attempt whose process died counts as a failure (ATTEMPT_PENDING_MAX): three of them lock.
                    account = self._rig.add()
        except BaseException as error:  # raised by `stop`, where the test sees it
            self.failures.append(error)

    def _note(self, status: int) -> int:
        with self._lock:
            self.told.statuses[status] += 1
            if status == 200:
                self.told.last_success = time.monotonic()
            if status >= 500:
                self.told.in_doubt += 1
                self.told.last_refusal = time.monotonic()
            assert status in self._allowed, f"{status} in the middle of it: {self.told.statuses}"
        if status >= 500:
            time.sleep(PAUSE)
        return status

    def _code(self, person: Person) -> dict[str, str] | None:
        """A fresh code of who is signed in, as the form that redeems it; None where the house does not answer."""
        asked = self._rig.request(prompt="none")
        try:
            answer = person.open(asked.url)
        except NO_ANSWER:
            self._note(UNANSWERED)
            return None
        if not answer.is_redirect:
            self._note(answer.status_code)
            return None
        found = parameters(answer.headers["Location"])
        assert "code" in found, found
        return {
            "grant_type": "authorization_code",
            "code": found["code"],
            "redirect_uri": self._rig.own.redirect_uri,
            "code_verifier": asked.verifier,
        }

    def _call(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            status, answer = self._rig.call("/oauth/token", self._rig.own, **form)
        except NO_ANSWER:
            status, answer = UNANSWERED, {}
        return self._note(status), answer

    def _keep(self, person: Person, _account: Account) -> None:
        """A code, its tokens, and new ones for these, a few times. In doubt, the family is left alone."""
        form = self._code(person)
        if form is None:
            return
        status, tokens = self._call(form)
        if status != 200:
            assert status >= 500, tokens
            return
        with self._lock:
            self.told.redeemed += 1
        first = None
        for _ in range(4):
            status, again = self._call({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
            if status != 200:
                assert status >= 500, again
                return
            with self._lock:
                self.told.refreshed += 1
            first, tokens = first or tokens, again
        with self._lock:
            self.told.living.append(tokens)
            self.told.spent.append(first or {})

    def _race(self, person: Person, _account: Account) -> None:
        """One code, posted twice in the same moment."""
        form = self._code(person)
        if form is None:
            return
        answers = at_once([lambda: self._call(form)] * 2)
        won = sum(status == 200 for status, _ in answers)
        with self._lock:
            self.told.redeemed += won > 0
            self.told.twice += won > 1

    def _enter(self, _person: Person, account: Account) -> None:
        """A sign-in, in a browser of its own."""
        with self._as_it_goes(person := self._rig.person()):
            if person.try_password(account.username, account.password).screen == "account":
                with self._lock:
                    self.told.entered += 1

    def _reset(self, _person: Person, account: Account) -> None:
        """A new password, by the secret question."""
        with self._as_it_goes(person := self._rig.person()):
            if person.recover_by_question(account.username, account.answer, make_password()).screen == "signin":
                with self._lock:
                    self.told.reset += 1

    @contextmanager
    def _as_it_goes(self, person: Person) -> Iterator[None]:
        """A way through pages that may end at each of them because the house does not answer; for no other reason."""
        trouble: list[int] = []

        def look(response: requests.Response, *_arguments: Any, **_more: Any) -> None:
            if response.status_code >= 500:
                trouble.append(self._note(response.status_code))

        person.http.hooks["response"].append(look)
        try:
            yield
        except NO_ANSWER:
            self._note(UNANSWERED)
        except AssertionError:
            if not trouble:
                raise


AUDITED = {
    "redeemed": "client:token:issue",
    "refreshed": "client:token:refresh",
    "entered": "account:signin:success",
    "reset": "account:password:reset",
}


@contextmanager
def under_load(
    rig: Rig, *, keepers: int = 3, racers: int = 2, people: int = 0, allowed: frozenset[int] = frozenset({503})
) -> Iterator[Load]:
    """The clients are at work inside; afterwards, what they were told is checked against what the house knows.

    Beside successes, and refusals of what was spent already, they may be told `allowed`; anything else fails at once.
    """
    load = Load(rig, keepers=keepers, racers=racers, people=people, allowed=allowed)
    before = {name: rig.provider.count_audit(event) for name, event in AUDITED.items()}
    load.start()
    try:
        yield load
    finally:
        told = load.stop()
    check(rig, told, before)


def check(rig: Rig, told: Told, before: dict[str, int]) -> None:
    """Nothing acknowledged is lost, nothing was spent twice, each acknowledged event has exactly one audit row."""
    assert told.redeemed > 0, told.statuses
    assert told.refreshed > 0, told.statuses
    assert told.twice == 0
    for name, event in AUDITED.items():
        acknowledged = getattr(told, name)
        rows = rig.provider.count_audit(event) - before[name]
        # What was refused with 503 may have been done: the answer is what was lost.
        assert acknowledged <= rows <= acknowledged + told.in_doubt, (name, told)
    for tokens in told.living[-10:]:
        assert rig.is_active(tokens["refresh_token"]), "acknowledged, and lost"
    for tokens in told.spent[-10:]:
        assert rig.refresh(tokens)[1]["error"] == "invalid_grant", "spent, and back"
