"""`idp worker`, the real process: killed, doubled, stopped, waiting for an hour. Its mails arrive once all the same."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import libfaketime
import pytest
from sqlalchemy import create_engine

from idp import policy
from idp.db import Store, engine_options
from idp.outbox import Outbox, Template
from tests.postbox import Postbox, postbox
from tests.serving import IDP, Provider, provider_in, start_server, stop_server

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("worker")]

FAKETIME = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
STOPS_WITHIN = 6.0  # seconds, on a machine that does other things too; the interpreter's end included


@pytest.fixture
def box() -> Iterator[Postbox]:
    with postbox() as found:
        yield found


@pytest.fixture
def provider(tmp_path: Path, box: Postbox) -> Iterator[Provider]:
    mail = {"IDP_MAIL_SERVER": "127.0.0.1", "IDP_MAIL_PORT": str(box.port)}
    with provider_in(tmp_path / "provider", **mail) as found:
        yield found


@contextmanager
def worker(provider: Provider, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`idp worker`, ended at the end; its words go to the log."""
    with (provider.folder / "server.log").open("ab") as log:
        process = start_server(
            [*IDP, "worker"],
            folder=provider.folder,
            environment=dict(provider.environment()) | environment,
            log=log,
        )
    try:
        yield process
    finally:
        stop_server(process)


def put(provider: Provider, count: int) -> list[str]:
    """So many mails; their Message-IDs."""
    url = f"sqlite:///{provider.database}"
    engine = create_engine(url, **engine_options(url))
    store = Store(engine)
    now = datetime.now(UTC)
    parameters = {"username": "EKU······3C9", "at": now.isoformat()}
    with store.write() as tx:
        ids = [
            Outbox(store).enqueue(
                tx, Template.LOCKED, recipient="buzon@example.com", locale="es-MX", parameters=parameters, now=now
            )
            for _ in range(count)
        ]
    engine.dispose()
    return [f"<{each}@localhost>" for each in ids]


def execute(provider: Provider, statement: str, *values: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(provider.database, timeout=10)) as connection, connection:
        return list(connection.execute(statement, values))


def eventually(check: object, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if check():  # type: ignore[operator]  # a function without arguments
            return True
        time.sleep(0.05)
    return False


def outcomes(provider: Provider) -> Counter[object]:
    return Counter(row[0] for row in execute(provider, "SELECT outcome FROM outbox_message"))


def database_time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


@pytest.mark.spec("F-4", "F-5", "F-16")
def test_a_worker_killed_before_it_could_mark_gives_one_twin(provider: Provider, box: Postbox) -> None:
    (message_id,) = put(provider, 1)
    box.wait = 30  # it has the mail, and has not said so
    with worker(provider) as process:
        assert box.wait_for(1), provider.log
        os.kill(process.pid, signal.SIGKILL)
        process.wait(5)
    box.wait = 0
    assert outcomes(provider) == {None: 1}
    # The lease keeps it from everybody; then it is anybody's. Its end is moved here instead of the clock.
    execute(provider, "UPDATE outbox_message SET leased_until = ?", database_time(datetime.now(UTC)))
    with worker(provider):
        assert box.wait_for(2), provider.log
        assert eventually(lambda: outcomes(provider) == {"sent": 1})
        time.sleep(2 * policy.MAIL_POLL_INTERVAL.total_seconds())
    assert box.ids() == [message_id, message_id]


@pytest.mark.spec("F-4", "S-2")
def test_two_workers_at_once_send_no_twin(provider: Provider, box: Postbox) -> None:
    with worker(provider), worker(provider):
        assert eventually(lambda: provider.log.count("at work") == 2), provider.log
        ids = put(provider, 40)
        assert box.wait_for(40), provider.log
        assert eventually(lambda: outcomes(provider) == {"sent": 40})
    assert Counter(box.ids()) == Counter(ids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.spec("F-16")
def test_a_worker_stops_within_seconds_and_ends_what_it_has(
    provider: Provider, box: Postbox, number: signal.Signals
) -> None:
    with worker(provider) as process:
        assert eventually(lambda: "at work" in provider.log), provider.log
        ids = put(provider, 1)
        box.wait = 1.0
        assert box.wait_for(1), provider.log
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(20) == 0, provider.log
        assert time.monotonic() - began < STOPS_WITHIN
    assert box.ids() == ids
    assert outcomes(provider) == {"sent": 1}
    assert "worker: stopped" in provider.log


@pytest.mark.spec("F-4", "R-5")
def test_an_hour_without_a_mail_server_and_a_restart(provider: Provider, box: Postbox, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    fake = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    ids = put(provider, 3)
    box.stop()
    with worker(provider, **fake):
        assert eventually(lambda: "waiting for the mail server" in provider.log), provider.log
        assert eventually(
            lambda: execute(provider, "SELECT count(*) FROM outbox_message WHERE error IS NOT NULL") == [(3,)]
        )
    status = json.loads(provider.idp("mail", "status", "--json"))
    assert (status["queued"], status["failed"]) == (3, 0)
    assert status["error"] == "no connection, ConnectionRefusedError"
    clock.write_text("+3600")
    box.start()
    with worker(provider, **fake):
        assert box.wait_for(3), provider.log
        assert eventually(lambda: outcomes(provider) == {"sent": 3})
    assert Counter(box.ids()) == Counter(ids)
    # Marked with the moment of the hand-over, not of the request.
    ended = [datetime.fromisoformat(str(row[0])) for row in execute(provider, "SELECT ended_at FROM outbox_message")]
    assert all(each.replace(tzinfo=UTC) - datetime.now(UTC) > timedelta(minutes=58) for each in ended)


@pytest.mark.spec("F-5", "O-9", "contract §2")
def test_an_operator_sees_what_was_refused_and_tries_again(provider: Provider, box: Postbox) -> None:
    ids = put(provider, 2)
    box.at_recipient = "550 5.1.1 <buzon@example.com> unknown"
    with worker(provider):
        assert eventually(lambda: outcomes(provider) == {"failed": 2}), provider.log
        status = json.loads(provider.idp("mail", "status", "--json"))
        assert (status["queued"], status["due"], status["oldest"], status["failed"]) == (0, 0, None, 2)
        assert {each["error"] for each in status["failures"]} == {"RCPT 550 5.1.1"}
        assert sorted(each["id"] for each in status["failures"]) == sorted(each[1:37] for each in ids)
        # Neither the commands nor the log say whose mail it was.
        assert "buzon@" not in provider.idp("mail", "status") + provider.log
        box.at_recipient = "250 2.1.5 known"
        assert json.loads(provider.idp("mail", "retry", "--json")) == {"due": 2}
        assert box.wait_for(2), provider.log
    assert sorted(box.ids()) == sorted(ids)
    assert provider.count_audit("operator:mail:retry") == 1
    assert json.loads(provider.idp("mail", "retry", "--json")) == {"due": 0}


@pytest.mark.spec("M5")
def test_a_password_that_is_about_to_end_is_told_by_mail(provider: Provider, box: Postbox) -> None:
    provider.add_account("EKU9003173C9")
    provider.add_account("XIA190128J61")
    ends_at = datetime.now(UTC) + timedelta(days=2)
    changed_at = database_time(ends_at - policy.PASSWORD_LIFETIME)
    execute(provider, "UPDATE account SET password_changed_at = ? WHERE username = 'EKU9003173C9'", changed_at)
    with worker(provider):
        assert box.wait_for(1), provider.log
    (taken,) = box.taken
    assert taken.recipients == ("persona@cliente.example",)
    assert str(taken.mail["Subject"]).startswith("Su contraseña de e-FACTURA vence el ")
    assert "EKU······3C9" in taken.part("plain")
    assert f"localhost:{provider.port}/login" in taken.part("plain")
    with worker(provider):  # told once, whoever asks again
        assert eventually(lambda: provider.log.count("at work") == 2)
        time.sleep(2 * policy.MAIL_POLL_INTERVAL.total_seconds())
    assert len(box.taken) == 1


@pytest.mark.spec("M12")
def test_a_worker_beside_the_server_sends_mail_too(provider: Provider, box: Postbox) -> None:
    provider.start(1, "--with-worker")
    (message_id,) = put(provider, 1)
    assert box.wait_for(1), provider.log
    assert box.ids() == [message_id]
