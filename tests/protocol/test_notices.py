"""Logout notices: who is told of the end of a session, once, with which token, and what happens when nobody listens."""

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from idp_kit import InvalidToken, LogoutTokenVerifier
from idp_kit.logout import LOGOUT_TYP
from joserfc import jws
from sqlalchemy import func, select

from idp import policy
from idp.protocol.clients import Client
from idp.protocol.details import ClientDetails
from idp.protocol.fetch import FetchProblem
from idp.protocol.models import LogoutDelivery, SessionClient
from idp.protocol.notices import Notices, remember_client
from tests.protocol.conftest import ISSUER, House

SINK = "https://app.example/backchannel"
FRAME = "https://app.example/frontchannel?a=b"


@dataclass
class Applications:
    """Everybody's back-channel endpoints: answers with `status`, or not at all, and remembers what was posted."""

    status: int | None = 200
    heard: list[tuple[str, str]] = field(default_factory=list)
    hold: threading.Event | None = None

    def post(self, url: str, fields: Mapping[str, str]) -> int:
        assert set(fields) == {"logout_token"}
        self.heard.append((url, fields["logout_token"]))
        if self.hold is not None:
            self.hold.wait(10)
        if self.status is None:
            raise FetchProblem("no answer: TimeoutError")
        return self.status


@pytest.fixture
def applications() -> Applications:
    return Applications()


@pytest.fixture
def notices(house: House, applications: Applications) -> Notices:
    services = house.server.services
    return Notices(services.store, services.clients, services.tokens, post_form=applications.post)


def _listening(house: House, name: str = "App", **details: object) -> Client:
    return house.client(name, backchannel_logout_uri=SINK, details=ClientDetails(**details))  # type: ignore[arg-type]


def _remember(house: House, client: Client, sid: str = "sid-1") -> None:
    with house.server.services.store.write() as tx:
        remember_client(tx, sid, client.client_id, house.authentication.sub, house.now + timedelta(hours=12))


def _end(house: House, notices: Notices, sid: str = "sid-1") -> int:
    with house.server.services.store.write() as tx:
        return notices.queue_for_session(tx, sid, house.now)


def _count(house: House, table: type) -> int:
    with house.server.services.store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _verifier(house: House, client: Client) -> LogoutTokenVerifier:
    class Keys:
        def find_key(self, kid: str) -> object:
            return house.keys._find(kid).public  # type: ignore[union-attr]

    return LogoutTokenVerifier(
        ISSUER,
        client.client_id,
        Keys(),  # type: ignore[arg-type]
        algorithms=("ES256", "RS256", "PS256", "EdDSA"),
    )


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_a_client_of_the_session_is_told_with_a_token_of_the_specification(
    house: House, notices: Notices, applications: Applications, alg: str
) -> None:
    client = house.client(backchannel_logout_uri=SINK, id_token_signed_response_alg=alg)
    id_token = house.tokens(client)["id_token"]
    assert _end(house, notices) == 1
    assert notices.deliver_due(house.now) == Counter(sent=1)
    [(url, token)] = applications.heard
    assert url == SINK
    header = jws.extract_compact(token.encode()).headers()
    assert (header["typ"], header["alg"]) == (LOGOUT_TYP, alg)
    read = _verifier(house, client).verify(token, house.now)
    of_sign_in = house.keys.verify(id_token, typ="JWT", now=house.now)
    assert (read.sub, read.sid) == (of_sign_in["sub"], of_sign_in["sid"])
    claims = house.keys.verify(token, typ=LOGOUT_TYP, now=house.now)
    assert claims["aud"] == client.client_id
    assert claims["exp"] - claims["iat"] <= 120
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert "nonce" not in claims


@pytest.mark.spec("T-1", "D-34")
def test_a_logout_token_is_no_access_token_and_no_hint(
    house: House, notices: Notices, applications: Applications
) -> None:
    client = _listening(house)
    tokens = house.tokens(client)
    _end(house, notices)
    notices.deliver_due(house.now)
    token = applications.heard[0][1]
    assert house.userinfo(token).status == 401
    assert house.userinfo(tokens["access_token"]).status == 200
    assert not house.is_active(client, token)
    for other in (tokens["id_token"], tokens["access_token"]):
        with pytest.raises(InvalidToken):
            _verifier(house, client).verify(other, house.now)


@pytest.mark.spec("T-4")
def test_a_pairwise_client_hears_its_own_sub(house: House, notices: Notices, applications: Applications) -> None:
    client = _listening(house, subject_type="pairwise", sector="app.example")
    id_token = house.keys.verify(house.tokens(client)["id_token"], typ="JWT", now=house.now)
    _end(house, notices)
    notices.deliver_due(house.now)
    claims = house.keys.verify(applications.heard[0][1], typ=LOGOUT_TYP, now=house.now)
    assert claims["sub"] == id_token["sub"] != house.authentication.sub


def test_only_clients_of_that_session_that_listen_are_told_once(
    house: House, notices: Notices, applications: Applications
) -> None:
    listening, deaf, elsewhere = _listening(house), house.client("Deaf"), _listening(house, "Elsewhere")
    _remember(house, listening)
    _remember(house, listening)
    _remember(house, deaf)
    _remember(house, elsewhere, "sid-2")
    assert _end(house, notices) == 1
    assert _end(house, notices) == 0
    notices.deliver_due(house.now)
    assert notices.deliver_due(house.now + timedelta(days=1)) == Counter()
    claims = [house.keys.verify(token, typ=LOGOUT_TYP, now=house.now) for _, token in applications.heard]
    assert [each["aud"] for each in claims] == [listening.client_id]


def test_the_end_of_all_sessions_of_an_account_is_told_for_each(
    house: House, notices: Notices, applications: Applications
) -> None:
    client = _listening(house)
    _remember(house, client)
    _remember(house, client, "sid-2")
    with house.server.services.store.write() as tx:
        assert notices.queue_for_account(tx, house.authentication.sub, house.now) == 2
        assert notices.queue_for_account(tx, "somebody-else", house.now) == 0
    notices.deliver_due(house.now)
    sids = {house.keys.verify(token, typ=LOGOUT_TYP, now=house.now)["sid"] for _, token in applications.heard}
    assert sids == {"sid-1", "sid-2"}


def test_what_is_rolled_back_is_told_to_nobody(house: House, notices: Notices, applications: Applications) -> None:
    client = _listening(house)
    _remember(house, client)
    with suppress(LookupError), house.server.services.store.write() as tx:
        notices.queue_for_session(tx, "sid-1", house.now)
        raise LookupError
    assert notices.deliver_due(house.now) == Counter()
    assert _end(house, notices) == 1


@pytest.mark.parametrize("status", [500, 503, 404, 302, None])
def test_who_does_not_answer_is_asked_again_and_given_up_in_the_end(
    house: House, notices: Notices, applications: Applications, status: int | None
) -> None:
    applications.status = status
    _remember(house, _listening(house))
    _end(house, notices)
    now = house.now
    for wait in policy.NOTICE_RETRIES:
        assert notices.deliver_due(now) == Counter(deferred=1)
        # The clock runs on a little during a turn.
        assert notices.deliver_due(now + wait / 2) == Counter()
        now += wait + timedelta(seconds=2)
    assert notices.deliver_due(now) == Counter(failed=1)
    assert notices.deliver_due(now + timedelta(days=1)) == Counter()
    jtis = [jws.extract_compact(token.encode()).payload for _, token in applications.heard]
    assert len(set(jtis)) == len(policy.NOTICE_RETRIES) + 1


@pytest.mark.spec("F-10")
def test_a_clock_that_ran_ahead_and_was_put_right_holds_no_notice_back(
    house: House, notices: Notices, applications: Applications
) -> None:
    applications.status = 503
    _remember(house, _listening(house))
    _end(house, notices)
    assert notices.deliver_due(house.now + timedelta(days=30)) == Counter(deferred=1)
    applications.status = 200
    assert notices.deliver_due(house.now) == Counter(sent=1)


@pytest.mark.parametrize(("status", "outcome"), [(200, "sent"), (204, "sent"), (400, "failed")])
def test_an_answer_is_final(
    house: House, notices: Notices, applications: Applications, status: int, outcome: str
) -> None:
    applications.status = status
    _remember(house, _listening(house))
    _end(house, notices)
    assert notices.deliver_due(house.now) == Counter([outcome])
    assert notices.deliver_due(house.now + timedelta(days=1)) == Counter()


def test_two_workers_tell_each_client_once(house: House, notices: Notices, applications: Applications) -> None:
    for number in range(12):
        _remember(house, _listening(house, f"App {number}"))
    _end(house, notices)
    applications.hold = threading.Event()
    counts: list[Counter[str]] = []
    threads = [threading.Thread(target=lambda: counts.append(notices.deliver_due(house.now))) for _ in range(2)]
    for thread in threads:
        thread.start()
    applications.hold.set()
    for thread in threads:
        thread.join(20)
    assert sum(counts, Counter()) == Counter(sent=12)
    assert len(set(applications.heard)) == 12


def test_one_client_that_hangs_does_not_hold_up_the_others(
    house: House, notices: Notices, applications: Applications
) -> None:
    """Twenty notices for a client that never answers are due before the one for a client that does."""
    hanging, quick = _listening(house, "Hanging"), house.client("Quick", backchannel_logout_uri=SINK + "2")
    for number in range(20):
        _remember(house, hanging, f"sid-{number}")
        _end(house, notices, f"sid-{number}")
    _remember(house, quick, "sid-q")
    with house.server.services.store.write() as tx:
        notices.queue_for_session(tx, "sid-q", house.now + timedelta(milliseconds=1))

    def post(url: str, fields: Mapping[str, str]) -> int:
        if url == SINK:
            raise FetchProblem("no answer: TimeoutError")
        return applications.post(url, fields)

    services = house.server.services
    worker = Notices(services.store, services.clients, services.tokens, post_form=post)
    done = worker.deliver_due(house.now + timedelta(seconds=1))
    assert done["sent"] == 1
    assert done["deferred"] <= policy.NOTICE_PARALLEL_MAX * 2


def test_a_worker_that_is_told_to_stop_begins_nothing(
    house: House, notices: Notices, applications: Applications
) -> None:
    _remember(house, _listening(house))
    _end(house, notices)
    stop = threading.Event()
    stop.set()
    assert notices.deliver_due(house.now, stop=stop) == Counter()
    assert notices.deliver_due(house.now) == Counter(sent=1)


@pytest.mark.parametrize(
    ("required", "query"),
    [(False, {"a": ["b"]}), (True, {"a": ["b"], "iss": [ISSUER], "sid": ["sid-1"]})],
)
def test_frames_say_issuer_and_session_where_the_client_asked_for_it(
    house: House, notices: Notices, required: bool, query: dict[str, list[str]]
) -> None:
    details = ClientDetails(frontchannel_logout_uri=FRAME, frontchannel_logout_session_required=required)
    _remember(house, house.client(details=details))
    _remember(house, house.client("Without"))
    [frame] = notices.frames_of("sid-1")
    assert frame.startswith(FRAME)
    assert parse_qs(urlsplit(frame).query) == query
    assert notices.frames_of("sid-2") == ()


def test_the_sweep_forgets_what_is_over(house: House, notices: Notices) -> None:
    client = _listening(house)
    _remember(house, client)
    _remember(house, client, "sid-2")
    _end(house, notices)
    notices.deliver_due(house.now)
    assert notices.sweep(house.now) == 0
    assert (_count(house, SessionClient), _count(house, LogoutDelivery)) == (1, 1)
    assert notices.sweep(house.now + policy.NOTICE_KEPT + timedelta(minutes=1)) == 2
    assert (_count(house, SessionClient), _count(house, LogoutDelivery)) == (0, 0)
