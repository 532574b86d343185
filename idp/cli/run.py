"""`idp init`, `idp serve`, `idp worker`."""

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from idp import jobs
from idp.cli.captcha_socket import serve_answers
from idp.cli.terminal import now, open_app, open_services
from idp.web.current import EXTENSION
from idp.web.extensions import db
from idp.web.mailing import Mailer
from idp.wiring import Services

_MIGRATIONS = Path(__file__).resolve().parent.parent.parent / "migrations"

_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 1 << 20


@click.command()
def init() -> None:
    """Make keys and tables. Running it again changes nothing."""
    # Here and not above: Alembic and what it brings are 15 MiB that no server needs.
    from flask_migrate import Migrate, upgrade

    app = open_app()
    Migrate(app, db, directory=str(_MIGRATIONS), render_as_batch=True)
    services: Services = app.extensions[EXTENSION]
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with app.app_context():
        upgrade()
    for kid in services.keys.ensure(now()):
        click.echo(f"key made: {kid}")
    click.echo("ready")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--with-worker", is_flag=True, help="Run `idp worker` beside.")
def serve(host: str, port: int, workers: int, with_worker: bool) -> None:
    """Serve with the production server."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    services = open_services()  # refuses bad settings here, once, instead of in each worker
    services.keys.check_ready(now())
    os.environ["WEB_CONCURRENCY"] = str(workers)
    # Granian forks its workers: neither SQLite's connections nor our locks may be open here when it does
    # (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_).
    services.store.engine.dispose()
    _share_memory()
    if with_worker:
        multiprocessing.get_context("spawn").Process(target=_work, daemon=True).start()
    if services.settings.test_captcha_socket:
        multiprocessing.get_context("spawn").Process(target=_answer_captchas, daemon=True).start()
    click.echo(f"serving {services.settings.issuer} on {host}:{port} with {workers} workers", err=True)
    Granian(
        "idp.app:create_app",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=16,
        backlog=2048,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
    ).serve()


def _share_memory() -> None:
    """Keep small what the workers will hold beside what they share with this process."""
    # A collection would write into every object, and so make a copy of every page, in each worker.
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # another C library than glibc keeps its own counsel
        # mallopt(3): a password hash takes 19 MiB for a moment. Above a fixed threshold the kernel gets them back at
        # once; left alone, glibc raises the threshold after the first one and keeps them.
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


@click.command()
def worker() -> None:
    """Do the clock work until stopped: mail, warnings before passwords end, sweeps."""
    _work()


def _work() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    app = open_app()
    _run_until_told(lambda stop: jobs.run(app.extensions[EXTENSION], Mailer(app).send, stop))


def _answer_captchas() -> None:
    services = open_services()
    path = Path(services.settings.test_captcha_socket)
    _run_until_told(lambda stop: serve_answers(services.captcha, path, stop))


def _run_until_told(work: Callable[[threading.Event], None]) -> None:
    """Run `work` until this process is told to end; the event is set then."""
    stop = threading.Event()
    ends = {signal.SIGTERM, signal.SIGINT}
    # Waited for by this thread alone, and blocked before the others begin: a handler that sets an event which its own
    # thread is waiting for may never return.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    thread = threading.Thread(target=work, args=(stop,), name="work")
    thread.start()
    signal.sigwait(ends)
    stop.set()
    thread.join()
