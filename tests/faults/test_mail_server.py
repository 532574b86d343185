"""Mail through a bad day: each message is handed over, none twice but for a lost answer, and its link is alive."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from flask import Flask

from idp import jobs, policy
from idp.accounts.errors import LinkDead
from idp.accounts.permits import Means
from idp.app import create_app
from idp.delivery import Delivered
from idp.outbox import Template
from idp.settings import Settings
from idp.web.current import EXTENSION
from idp.web.mailing import Mailer
from idp.wiring import Services
from tests.postbox import Postbox, Taken, dripping_server, postbox
from tests.tables import make_tables

pytestmark = pytest.mark.enable_socket

SECRET = "0123456789abcdef0123456789abcdef-tests"
LINK = re.compile(r"^(\S+/request/codedAccess\?code=\S+)$", re.MULTILINE)


class House:
    """The provider on one database, with everything in it started anew as often as a test wants."""

    def __init__(self, folder: Path, box: Postbox) -> None:
        self.settings = Settings(
            secret_key=SECRET,
            issuer="https://llave.example",
            database_url=f"sqlite:///{folder / 'idp.db'}",
            keys_dir=folder / "keys",
            mail_server="localhost",
            mail_port=box.port,
        )
        self.apps: list[Flask] = []
        self.restart()
        make_tables(self.services.store.engine)

    @property
    def services(self) -> Services:
        found: Services = self.apps[-1].extensions[EXTENSION]
        return found

    def restart(self, **settings: object) -> "House":
        """Nothing of before is left in memory."""
        self.settings = Settings(
            **{name: getattr(self.settings, name) for name in Settings.__slots__} | settings  # type: ignore[arg-type]
        )
        self.apps.append(create_app(self.settings))
        self.mailer = Mailer(self.apps[-1])
        return self

    def deliver(self, now: datetime) -> Delivered:
        return jobs.deliver_due(self.services, self.mailer.send, now)

    def add_accounts(self, now: datetime, count: int) -> list[str]:
        """Active accounts, by id."""
        create = self.services.lifecycle.create
        hasher = self.services.lifecycle._hasher
        hashed = hasher.hash("Nieve.Tibia7")
        with pytest.MonkeyPatch.context() as patch:
            # One costs what all of them would.
            patch.setattr(hasher, "hash", lambda password: hashed)
            names = (f"EKU9003{1 + number % 28:02d}{number // 28:02d}9" for number in range(count))
            return [
                create(name, email=f"{name.lower()}@example.com", password="Nieve.Tibia7", now=now).account_id
                for name in names
            ]

    def remind(self, account_ids: list[str], now: datetime) -> list[str]:
        """A reminder for each, as recovery enqueues it; the Message-IDs."""
        enqueue = self.services.outbox.enqueue
        with self.services.store.write() as tx:
            return [
                f"<{message_id}@llave.example>"
                for number, account_id in enumerate(account_ids)
                for message_id in [
                    enqueue(
                        tx,
                        Template.REMINDER,
                        recipient=f"buzon{number}@example.com",
                        locale="es-MX",
                        parameters={
                            "account_id": account_id,
                            "epoch": 1,
                            "username": "EKU······3C9",
                            "purpose": "recover",
                        },
                        now=now,
                    )
                ]
            ]

    def close(self) -> None:
        for app in self.apps:
            app.extensions[EXTENSION].store.engine.dispose()


@pytest.fixture
def box() -> Iterator[Postbox]:
    with postbox() as found:
        yield found


@pytest.fixture
def house(tmp_path: Path, box: Postbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(policy, "MAIL_POLL_INTERVAL", timedelta(seconds=0.05))
    with closing(House(tmp_path, box)) as found:
        yield found


def code_of(taken: Taken) -> str:
    found = LINK.search(taken.part("plain"))
    assert found is not None
    return parse_qs(urlsplit(found[1]).query)["code"][0]


def opens(house: House, taken: Taken, now: datetime) -> bool:
    try:
        return house.services.links.open(code_of(taken), now).means is Means.LINK
    except LinkDead:
        return False


@pytest.mark.spec("F-4", "R-5", "M12")
def test_an_hour_without_a_mail_server(house: House, box: Postbox, now: datetime) -> None:
    accounts = house.add_accounts(now, 12)
    ids = house.remind(accounts, now)
    box.stop()
    moment, tries = now, 0
    while moment < now + timedelta(hours=1):
        tries += house.deliver(moment).deferred
        moment += timedelta(seconds=15)
        if moment == now + timedelta(minutes=30):
            house.restart()  # of everything
    # Backed off: each is tried some ten times in the hour, not two hundred and forty.
    assert 12 * 5 < tries < 12 * 15
    box.start()
    back = now + timedelta(hours=1)
    sent = 0
    for minutes in range(16):  # the longest wait
        sent += house.deliver(back + timedelta(minutes=minutes)).sent
    assert sent == 12
    assert Counter(box.ids()) == Counter(ids)
    assert 1 <= box.most_at_once <= policy.MAIL_PARALLEL_MAX
    for taken in box.taken:
        # Asked for more than an hour ago, and alive: its time runs from the hand-over.
        assert opens(house, taken, back + policy.RECOVERY_LINK_LIFETIME - timedelta(seconds=1))
        assert not opens(house, taken, back + timedelta(minutes=16) + policy.RECOVERY_LINK_LIFETIME)


@pytest.mark.spec("R-5")
def test_the_life_of_a_link_begins_with_the_servers_answer(house: House, box: Postbox, now: datetime) -> None:
    house.remind(house.add_accounts(now, 1), now)
    box.wait = 0.5
    assert house.deliver(now).sent == 1
    (taken,) = box.taken
    end = now + policy.RECOVERY_LINK_LIFETIME
    assert opens(house, taken, end + timedelta(seconds=0.4))
    assert not opens(house, taken, end + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"at_recipient": "451 4.3.0 <buzon0@example.com> try later"}, "RCPT 451 4.3.0"),
        ({"at_recipient": "421 4.7.0 too many"}, "RCPT 421 4.7.0"),
        ({"at_data": "451 4.3.0 greylisted"}, "DATA 451 4.3.0"),
        ({"at_data": "452 no space"}, "DATA 452"),
    ],
)
@pytest.mark.spec("F-5", "contract §7")
def test_a_server_that_is_busy_gets_the_same_message_later(
    house: House, box: Postbox, now: datetime, answer: dict[str, str], reason: str
) -> None:
    ids = house.remind(house.add_accounts(now, 2), now)
    usual = {name: getattr(box, name) for name in answer}
    vars(box).update(answer)
    done = house.deliver(now)
    assert (done.deferred, done.trouble) == (2, reason)
    assert house.services.outbox.status(now).trouble == reason
    vars(box).update(usual)
    assert house.deliver(now + policy.MAIL_RETRIES[0] * 2).sent == 2
    assert Counter(box.ids()) == Counter(ids)


@pytest.mark.parametrize(
    "answer", [{"at_recipient": "550 5.1.1 <buzon0@example.com> unknown"}, {"at_data": "554 5.7.1 no"}]
)
@pytest.mark.spec("F-5")
def test_a_server_that_says_no_is_not_asked_for_ever(
    house: House, box: Postbox, now: datetime, answer: dict[str, str]
) -> None:
    ids = house.remind(house.add_accounts(now, 1), now)
    usual = {name: getattr(box, name) for name in answer}
    vars(box).update(answer)
    assert house.deliver(now).failed == 1
    assert house.deliver(now + timedelta(days=1)) == Delivered()
    (failed,) = house.services.outbox.status(now).failures
    assert failed.error is not None
    assert re.fullmatch(r"(RCPT|DATA) 55\d 5\.\d\.1", failed.error)
    # The operator has mended it.
    vars(box).update(usual)
    with house.services.store.write() as tx:
        assert house.services.outbox.retry(tx, now) == 1
    assert house.deliver(now).sent == 1
    assert box.ids() == ids


@pytest.mark.spec("F-5")
def test_a_line_that_is_cut_after_the_mail_gives_one_twin(house: House, box: Postbox, now: datetime) -> None:
    ids = house.remind(house.add_accounts(now, 3), now)
    box.cuts = 1
    assert house.deliver(now) == Delivered(sent=2, deferred=1, trouble="the server hung up")
    assert house.deliver(now + policy.MAIL_RETRIES[0] * 2).sent == 1
    assert house.deliver(now + timedelta(days=1)) == Delivered()
    copies = Counter(box.ids())
    assert sorted(copies) == sorted(ids)
    assert sorted(copies.values()) == [1, 1, 2]
    # Twins carry the same link, and it is alive.
    twin = [each for each in box.taken if copies[each.id] == 2]
    assert code_of(twin[0]) == code_of(twin[1])
    assert opens(house, twin[0], now + timedelta(minutes=10))


@pytest.mark.spec("F-5")
def test_a_server_that_answers_too_late_is_left(
    house: House, box: Postbox, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.remind(house.add_accounts(now, 1), now)
    box.wait = 30
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(policy, "MAIL_TIMEOUT", timedelta(seconds=0.3))
        assert house.deliver(now).deferred == 1
    assert time.monotonic() - began < 15
    box.wait = 0
    assert house.deliver(now + timedelta(minutes=1)).sent == 1
    assert len(set(box.ids())) == 1


@pytest.mark.spec("F-5")
def test_a_server_that_drips_is_cut_off_before_the_lease_ends(
    house: House, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "MAIL_DEADLINE", timedelta(seconds=0.5))
    house.remind(house.add_accounts(now, 1), now)
    with dripping_server() as port:
        house.restart(mail_port=port)
        began = time.monotonic()
        # Each byte comes in time; the whole never would.
        assert house.deliver(now).deferred == 1
        assert time.monotonic() - began < 5


@pytest.mark.spec("F-4", "S-2")
def test_two_nodes_send_no_twin(house: House, box: Postbox, now: datetime) -> None:
    ids = house.remind(house.add_accounts(now, 40), now)
    first, first_mailer = house.services, house.mailer
    house.restart()
    turns: list[Callable[[], Delivered]] = [
        lambda: jobs.deliver_due(first, first_mailer.send, now),
        lambda: house.deliver(now),
    ]
    with ThreadPoolExecutor(2) as pool:
        done = [each.result() for each in [pool.submit(turn) for turn in turns]]
    assert sum(each.sent for each in done) == 40
    assert Counter(box.ids()) == Counter(ids)


@pytest.mark.spec("F-6")
@pytest.mark.parametrize(
    "half", [pytest.param(5, id="alone", marks=pytest.mark.slow), pytest.param(30, id="beside other tests")]
)
def test_two_hundred_requests(
    house: House, box: Postbox, now: datetime, monkeypatch: pytest.MonkeyPatch, half: float
) -> None:
    ids = house.remind(house.add_accounts(now, 200), now)
    # Nobody waits for the next look, be it for a place to be free or for the others of a turn.
    monkeypatch.setattr(policy, "MAIL_POLL_INTERVAL", timedelta(minutes=1))
    began = time.monotonic()
    assert house.deliver(now).sent == 200
    arrived = sorted(taken.at - began for taken in box.taken)
    assert Counter(box.ids()) == Counter(ids)
    assert arrived[-1] < 60
    assert arrived[100] < half
    assert 1 < box.most_at_once <= policy.MAIL_PARALLEL_MAX


@pytest.mark.spec("R-6", "S-4")
def test_no_link_is_kept_anywhere(house: House, box: Postbox, now: datetime, tmp_path: Path) -> None:
    house.remind(house.add_accounts(now, 1), now)
    box.cuts = 1
    house.deliver(now)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("idp.db*"))
    code = code_of(box.taken[0]).encode()
    assert code not in kept
    # The message's own row is: the look was at the right files.
    assert box.ids()[0].strip("<>").partition("@")[0].encode() in kept


@pytest.mark.spec("R-4", "R-9")
def test_a_mail_that_has_lost_its_reason_is_not_sent(house: House, box: Postbox, now: datetime) -> None:
    accounts = house.add_accounts(now, 2)
    ids = house.remind(accounts, now)
    box.stop()
    assert house.deliver(now).deferred == 2
    house.services.lifecycle.disable("EKU900301009", now)
    box.start()
    done = house.deliver(now + timedelta(minutes=1))
    assert (done.sent, done.dropped) == (1, 1)
    assert box.ids() == ids[1:]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("mail_tls", ["starttls", "tls"])
@pytest.mark.parametrize("name", ["localhost", "mail.example"])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_servers_certificate_is_verified(
    house: House,
    now: datetime,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mail_tls: str,
    name: str,
    trusted: bool,
) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    options = {"tls_context": context, "require_starttls": True} if mail_tls == "starttls" else {"ssl_context": context}
    house.remind(house.add_accounts(now, 1), now)
    with postbox(**options) as box:
        done = house.restart(mail_port=box.port, mail_tls=mail_tls).deliver(now)
        if trusted and name == "localhost":
            assert done.sent == len(box.taken) == 1
        else:
            assert (done.deferred, done.trouble) == (1, "the server's certificate is not trusted")
            assert box.taken == []


def test_a_server_without_the_encryption_that_is_wanted_gets_nothing(house: House, box: Postbox, now: datetime) -> None:
    house.remind(house.add_accounts(now, 1), now)
    assert house.restart(mail_tls="starttls").deliver(now).deferred == 1
    assert box.taken == []
    assert house.restart(mail_tls="none").deliver(now + timedelta(minutes=1)).sent == 1


def test_the_worker_says_once_what_it_waits_for(
    house: House, box: Postbox, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="idp.jobs")
    ids = house.remind(house.add_accounts(now, 1), now)
    box.stop()
    postman = jobs.Postman(house.services, house.mailer.send, threading.Event())
    for minutes in range(6):
        postman.turn(now + timedelta(minutes=minutes))
    box.start()
    postman.turn(now + timedelta(minutes=30))
    assert [record.getMessage() for record in caplog.records if record.name == "idp.jobs"] == [
        "mail: waiting for the mail server (no connection, ConnectionRefusedError); it is tried again",
        "mail: the mail server takes messages again",
        "mail: 1 handed over",
    ]
    assert box.ids() == ids
