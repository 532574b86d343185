"""W1 to W6: what is sent, and whether each answer is right."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from bench.generator import Plan, Report, Request, load, read_answers
from bench.processes import TICK, settle
from bench.sides import FLOWS_AT_ONCE, REDIRECT, Side

SIGNATURES_EACH = 8
"""Of so many tokens of a round the signature of one is verified; form, status and that none comes twice, of all."""
_FINE_ENOUGH = 0.02


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of work."""

    name: str
    title: str
    plan: Callable[[Side], Plan]
    check: Callable[["Checker", int, str], None]
    requests_each: int = 1
    """How many requests one operation takes."""
    prove: Callable[[Side], None] | None = None
    """Once for each side, beside the load: what its answers alone do not show."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one load of one side gave."""

    side: str
    workload: str
    operations: int
    seconds: float
    server_cpu: float
    generator_cpu: float
    p50_ms: float
    p99_ms: float
    """Of one request."""
    checked: int
    processes: int
    """Of the server; the kernel says of each what it used in steps of `TICK`."""

    @property
    def cpu_ms(self) -> float:
        return self.server_cpu / self.operations * 1000

    @property
    def per_second(self) -> float:
        return self.operations / self.seconds

    @property
    def generator_share(self) -> float:
        """Of one core, and it has one thread: near 1 it was the limit, not the server."""
        return self.generator_cpu / self.seconds

    @property
    def is_coarse(self) -> bool:
        """Whether the steps in which CPU is counted are more than 2 % of what was counted."""
        return self.processes * TICK > _FINE_ENOUGH * self.server_cpu


class Checker:
    """Looks at every answer of one run; what is not right ends the run of this side."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._keys = KeySet.import_key_set(side.keys())
        self._seen: set[str] = set()
        self._tokens = 0

    def parse(self, status: int, text: str) -> dict[str, Any]:
        if status != 200:
            self.side.fail(f"answered {status}: {text[:500]}")
        found: dict[str, Any] = json.loads(text)
        return found

    def once(self, value: str) -> None:
        """`value` was not given before."""
        if len(value) < 20 or value in self._seen:
            self.side.fail(f"gave the same value twice, or a short one: {value[:40]}")
        self._seen.add(value)

    def token(self, answer: dict[str, Any]) -> None:
        """An access token, of those that are JWT some verified."""
        token = answer["access_token"]
        self.once(token)
        if answer["token_type"].lower() != "bearer" or not answer["expires_in"] > 0:
            self.side.fail(f"gave a token of another kind: {answer}")
        self._tokens += 1
        if token.count(".") == 2 and self._is_looked_at():
            self._verify(token)

    def id_token(self, answer: dict[str, Any], *, nonce: str | None) -> None:
        if answer["id_token"].count(".") != 2:
            self.side.fail(f"gave no ID token: {answer}")
        if not self._is_looked_at():
            return
        claims = self._verify(answer["id_token"])
        aud = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if self.side.client_id not in aud or (nonce is not None and claims.get("nonce") != nonce) or not claims["sub"]:
            self.side.fail(f"gave another ID token: {claims}")

    def _is_looked_at(self) -> bool:
        return self._tokens % SIGNATURES_EACH == 1

    def _verify(self, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, self._keys, algorithms=["ES256", "RS256", "RS512"]).claims
        except JoseError as error:
            self.side.fail(f"gave a token that does not verify: {error} {token}")
        if claims["iss"] != self.side.issuer or claims["exp"] < time.time():
            self.side.fail(f"gave a token that says {claims}")
        return claims


def measure(side: Side, workload: Workload, seconds: float, folder: Path) -> Round:
    """Load the side once and check every answer."""
    if side.renew is not None:
        side.renew()
    plan = workload.plan(side)
    settle(side.roots)
    before = side.used()
    report, answers = load(side.url, plan, side.connections, seconds, folder)
    after = side.used()
    settle(side.roots)
    checker, checked = Checker(side), 0
    for status, text, times in read_answers(answers):
        workload.check(checker, status, text)
        checked += times
    _judge(side, report, checked)
    return Round(
        side.name,
        workload.name,
        report.requests // workload.requests_each,
        report.seconds,
        after.seconds - before.seconds,
        report.cpu_seconds,
        report.p50_ms,
        report.p99_ms,
        checked,
        after.processes,
    )


def _judge(side: Side, report: Report, checked: int) -> None:
    # Of each connection's last answers the generator may not have written all.
    if report.errors or report.requests - checked > 2 * side.connections or not checked:
        side.fail(f"reports {report}, and {checked} answers are right")


def _form(side: Side, path: str, body: str) -> Request:
    return Request("POST", side.paths[path], {"Authorization": side.basic}, body)


# -- W1 ------------------------------------------------------------------------------------------------------------


def _plan_client_credentials(side: Side) -> Plan:
    body = "grant_type=client_credentials"
    if side.machine_scope is not None:
        body += f"&scope={side.machine_scope}"
    request = Request("POST", side.paths["token"], {"Authorization": side.machine_basic}, body)
    return Plan("distinct", [request])


def _check_token(checker: Checker, status: int, text: str) -> None:
    checker.token(checker.parse(status, text))


# -- W2 ------------------------------------------------------------------------------------------------------------


def _plan_code(side: Side) -> Plan:
    query = side.authorization_query("openid profile email")
    requests = [Request("GET", query, {"Cookie": cookie}) for cookie in side.cookies]
    return Plan("code", requests, _form(side, "token", side.redemption("{}")))


def _check_code(checker: Checker, status: int, text: str) -> None:
    if 300 <= status < 400:
        found = parse_qs(urlsplit(text).query)
        if not text.startswith(REDIRECT) or found.get("state") != ["estado"]:
            checker.side.fail(f"redirected to {text}")
        checker.once(found["code"][0])
        return
    answer = checker.parse(status, text)
    checker.token(answer)
    checker.id_token(answer, nonce="una-vez")


# -- W3 ------------------------------------------------------------------------------------------------------------


def _plan_refresh(side: Side) -> Plan:
    # More than there are connections: wrk tries its script out before it begins.
    many = max(2 * side.connections, len(side.cookies))
    with ThreadPoolExecutor(FLOWS_AT_ONCE) as pool:
        seeds = list(pool.map(lambda number: side.sign_in_tokens(number, refresh=True)["refresh_token"], range(many)))
    # The first request of all is only sent where no seed is left, which never happens.
    fallback = _form(side, "token", "grant_type=refresh_token&refresh_token=none")
    return Plan("refresh", [fallback], _form(side, "token", "grant_type=refresh_token&refresh_token={}"), seeds)


def _prove_rotation(side: Side) -> None:
    """Rotation is one only where what was rotated away is refused."""
    # The waiting is for Canaille, of whose access tokens two of one second are the same.
    time.sleep(1.1)
    token = side.sign_in_tokens(0, refresh=True)["refresh_token"]
    time.sleep(1.1)
    for is_fresh in (True, False):
        answer = requests.post(
            side.url + side.paths["token"],
            data={"grant_type": "refresh_token", "refresh_token": token},
            headers={"Authorization": side.basic},
            timeout=10,
        )
        if answer.status_code != 200 if is_fresh else not 400 <= answer.status_code < 500:
            kind = "fresh" if is_fresh else "spent"
            side.fail(f"answered {answer.status_code} to a {kind} refresh token: {answer.text[:500]}")


def _check_refresh(checker: Checker, status: int, text: str) -> None:
    answer = checker.parse(status, text)
    checker.token(answer)
    checker.once(answer["refresh_token"])
    if "id_token" in answer:
        checker.id_token(answer, nonce=None)


# -- W4, W5 --------------------------------------------------------------------------------------------------------


def _access_tokens(side: Side) -> list[str]:
    return [side.sign_in_tokens(number)["access_token"] for number in range(side.readers or len(side.cookies))]


def _plan_introspect(side: Side) -> Plan:
    headers = {"Authorization": side.basic}
    if side.introspection_needs_scope is not None:
        given = requests.post(
            side.url + side.paths["token"],
            data={"grant_type": "client_credentials", "scope": side.introspection_needs_scope},
            headers={"Authorization": side.machine_basic},
            timeout=10,
        ).json()
        headers = {"Authorization": f"Bearer {given['access_token']}"}
    forms = [urlencode({"token": token}) for token in _access_tokens(side)]
    return Plan("repeat", [Request("POST", side.paths["introspect"], headers, form) for form in forms])


def _check_introspect(checker: Checker, status: int, text: str) -> None:
    answer = checker.parse(status, text)
    if answer["active"] is not True or answer["client_id"] != checker.side.client_id:
        checker.side.fail(f"introspected as {answer}")


def _plan_userinfo(side: Side) -> Plan:
    tokens = _access_tokens(side)
    return Plan(
        "repeat", [Request("GET", side.paths["userinfo"], {"Authorization": f"Bearer {token}"}) for token in tokens]
    )


def _check_userinfo(checker: Checker, status: int, text: str) -> None:
    answer = checker.parse(status, text)
    if not answer["sub"] or "email" not in answer:
        checker.side.fail(f"said of its person {answer}")


# -- W6 ------------------------------------------------------------------------------------------------------------


def _plan_metadata(side: Side) -> Plan:
    return Plan("repeat", [Request("GET", path, {}) for path in (side.discovery, side.paths["jwks"])])


def _check_metadata(checker: Checker, status: int, text: str) -> None:
    answer = checker.parse(status, text)
    if not answer.get("keys") and answer.get("issuer") != checker.side.issuer:
        checker.side.fail(f"said of itself {text[:500]}")


WORKLOADS = (
    Workload("W1", "client_credentials", _plan_client_credentials, _check_token),
    Workload("W2", "authorize, code, token", _plan_code, _check_code, requests_each=2),
    Workload("W3", "refresh with rotation", _plan_refresh, _check_refresh, prove=_prove_rotation),
    Workload("W4", "introspection", _plan_introspect, _check_introspect),
    Workload("W5", "userinfo", _plan_userinfo, _check_userinfo),
    Workload("W6", "discovery and JWKS", _plan_metadata, _check_metadata),
)
