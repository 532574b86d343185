"""L-9: whoever a name belongs to, the same bytes come back after the same time."""

import math
import random
import sqlite3
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import requests

from tests.journeys import Page, Person
from tests.likeness import shape
from tests.rig import Rig, rig_in
from tests.serving import make_password

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("timing"), pytest.mark.spec("L-9", "D-40", "D-51")]

Z_MAX = 4.0
KINDS = ("known", "unknown", "disabled", "invited")
SIZES = [pytest.param(16, id="short"), pytest.param(300, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(900)])]


@dataclass
class Names:
    """Names of each kind; each door takes the next that nobody has tried there."""

    rig: Rig
    by_kind: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def take(self, count: int) -> dict[str, list[str]]:
        """So many of each kind, made as far as there are not enough."""
        self._make(count - len(self.by_kind["known"]))
        return {kind: names[:count] for kind, names in self.by_kind.items()}

    def _make(self, missing: int) -> None:
        # Hashing a password for each of some hundred accounts would take longer than the test: they share one.
        if missing <= 0:
            return
        model = self.rig.add()
        lifecycle = self.rig.provider.doors.lifecycle
        for kind in KINDS:
            for _ in range(missing):
                username = self.rig.username()
                self.by_kind[kind].append(username)
                if kind != "unknown":
                    lifecycle.create(username, email=f"{username.lower()}@cliente.example", now=datetime.now(UTC))
        statement = (
            "UPDATE account SET (state, password_hash, password_changed_at, question, answer_hash) ="
            " (SELECT ?, password_hash, password_changed_at, question, answer_hash FROM account WHERE username = ?)"
            " WHERE username = ?"
        )
        with closing(sqlite3.connect(self.rig.provider.database, timeout=10)) as connection, connection:
            for kind, state in (("known", "active"), ("disabled", "disabled")):
                for username in self.by_kind[kind]:
                    connection.execute(statement, (state, model.username, username))


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    with rig_in(tmp_path_factory.mktemp("timing"), mail=False) as rig:
        yield Names(rig)


@dataclass(frozen=True, slots=True)
class Probe:
    """What one try at a door took, and what it gave."""

    seconds: float
    shape: list[str]


def timed(username: str, step: Callable[[], Sequence[requests.Response]]) -> Probe:
    began = time.perf_counter()
    responses = step()
    seconds = time.perf_counter() - began
    return Probe(seconds, [line for response in responses for line in shape(response, username)])


def post_and_follow(
    person: Person, page: Page, form: str, button: str = "submit", **typed: str
) -> Callable[[], Sequence[requests.Response]]:
    def step() -> Sequence[requests.Response]:
        first = person.post(page, form, button, **typed)
        return first, person.follow(first)

    return step


def sign_in(person: Person, username: str) -> Probe:
    page = person.visit("/login")
    return timed(username, post_and_follow(person, page, "form-signin", username=username, password="Equivocada-1"))


def recover(person: Person, username: str) -> Probe:
    page = person.visit("/recover")
    return timed(username, post_and_follow(person, page, "form-recover", username=username))


def answer(person: Person, username: str) -> Probe:
    page = person.ask_question(username)
    return timed(username, post_and_follow(person, page, "form-question", answer="Seguramente no"))


def remind(person: Person, username: str) -> Probe:
    page = person.ask_question(username)
    return timed(username, post_and_follow(person, page, "form-reminder", "send-reminder"))


def measure(rig: Rig, door: Callable[[Person, str], Probe], names: dict[str, list[str]]) -> dict[str, list[Probe]]:
    """One try of each name, the kinds interleaved in an order that changes: what drifts, drifts for all."""
    probes: dict[str, list[Probe]] = {kind: [] for kind in names}
    order = random.Random(7)
    for row in zip(*names.values(), strict=True):
        tries = list(zip(names, row, strict=True))
        order.shuffle(tries)
        for kind, username in tries:
            probes[kind].append(door(rig.person(), username))
    return probes


def mann_whitney(left: Sequence[float], right: Sequence[float]) -> float:
    """The z of the rank-sum test, corrected for ties."""
    together = sorted([*left, *right])
    count = len(together)

    def rank(value: float) -> float:
        return (bisect_left(together, value) + bisect_right(together, value) + 1) / 2

    ranks = sum(map(rank, left))
    mean = len(left) * (count + 1) / 2
    sizes = [together.count(value) for value in set(together)]
    ties = sum(size**3 - size for size in sizes) / (count * (count - 1))
    variance = len(left) * len(right) / 12 * (count + 1 - ties)
    return (ranks - mean) / math.sqrt(variance) if variance else 0.0


def assert_alike(probes: dict[str, list[Probe]], reference: str) -> None:
    for kind, found in probes.items():
        assert [probe.shape for probe in found if probe.shape != probes[reference][0].shape] == [], kind
    scores = {
        kind: mann_whitney([each.seconds for each in probes[reference]], [each.seconds for each in found])
        for kind, found in probes.items()
        if kind != reference
    }
    assert max(map(abs, scores.values())) < Z_MAX, scores


def test_the_short_form_would_see_a_missing_comparison() -> None:
    noise = random.Random(5)
    one, other = ([noise.gauss(40, 8) for _ in range(16)] for _ in range(2))
    assert abs(mann_whitney(one, other)) < Z_MAX
    # A comparison takes some twenty-five.
    assert abs(mann_whitney(one, [value - 25 for value in other])) > Z_MAX


def test_the_test_would_see_two_milliseconds_in_forty() -> None:
    noise = random.Random(3)
    one, other = ([noise.gauss(40, 4) for _ in range(300)] for _ in range(2))
    assert abs(mann_whitney(one, other)) < Z_MAX
    assert abs(mann_whitney(one, [value + 2 for value in other])) > Z_MAX


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("door", [sign_in, recover, answer, remind])
def test_no_name_is_told_from_another(names: Names, door: Callable[[Person, str], Probe], size: int) -> None:
    assert_alike(measure(names.rig, door, names.take(size)), "known")


@pytest.mark.parametrize("size", SIZES)
def test_no_locked_name_is_told_from_another(names: Names, size: int) -> None:
    """A lock takes nothing but names: each of a few is tried often, once it is locked."""
    rig = names.rig
    few = {"known": [rig.add().username for _ in range(4)], "unknown": [rig.username() for _ in range(4)]}
    for username in (name for kind in few.values() for name in kind):
        screens = [rig.person().try_password(username, make_password()).screen for _ in range(3)]
        assert screens == ["captcha", "captcha", "locked"]
    often = {kind: (found * size)[:size] for kind, found in few.items()}
    probes = measure(rig, locked_sign_in, often)
    assert_alike(probes, "known")


def locked_sign_in(person: Person, username: str) -> Probe:
    probe = sign_in(person, username)
    assert 'data-screen="locked"' in "".join(probe.shape)
    return probe
