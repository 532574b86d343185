"""`idp init`, `idp serve`, `idp worker`."""

import gc
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from flask import Flask

from idp import audit, policy, schema
from idp.app import observe
from idp.cli.terminal import migrate, migrate_back, now, open_app
from idp.sqlite import make_private
from idp.web import health, observing
from idp.web.current import EXTENSION
from idp.wiring import Services


@click.command()
@click.option(
    "--back-to",
    metavar="REVISION",
    help="Undo the migrations after this one, and what they hold: once every node is of the release before.",
)
def init(back_to: str | None) -> None:
    """Make keys and tables. Running it again changes nothing.

    Tables of a later release are left as they are: this one works on them.
    """
    app = open_app()
    services: Services = app.extensions[EXTENSION]
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if back_to is not None:
        migrate_back(app, back_to)
        click.echo(f"tables are those of {schema.find_present(services.store)}")
        return
    # A node of the release before that starts anew while an upgrade is under way, or after it was taken back.
    if schema.is_later(present := schema.find_present(services.store)):
        click.echo(f"tables are those of a later release, {present}: left as they are")
    else:
        migrate(app)
    make_private(services.settings.database_url, mend=True)
    moment = now()
    made = services.keys.ensure(moment)
    if made:
        with services.store.write() as tx:
            audit.record(tx, audit.Event.KEY_ROTATE, now=moment, detail={"kids": made})
    for kid in made:
        click.echo(f"key made: {kid}")
    click.echo("ready")


def _check_address(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise click.BadParameter("write host:port, such as 127.0.0.1:9464")
    return value


metrics_option = click.option(
    "--metrics",
    metavar="HOST:PORT",
    callback=_check_address,
    help="Answer Prometheus at /metrics here: an address that only operators reach.",
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--with-worker", is_flag=True, help="Run `idp worker` beside.")
@metrics_option
@click.option(
    "--drain-wait",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 60),
    metavar="SECONDS",
    help="On SIGTERM, how long to say `not ready` and go on serving before the end: time for a balancer to notice.",
)
def serve(host: str, port: int, workers: int, with_worker: bool, metrics: str | None, drain_wait: float) -> None:
    """Serve with the production server.

    SIGTERM drains: nothing new is taken, what has begun is finished, for 25 seconds at most.
    """
    os.environ["WEB_CONCURRENCY"] = str(workers)  # by which a worker knows how many cores are its own
    # Made here, once, with its keys read, for all workers: they are forks of this process.
    app = open_app()
    services: Services = app.extensions[EXTENSION]
    services.keys.check_ready(now())
    observing.configure_log(services)
    with TemporaryDirectory(prefix="idp-") as folder:
        os.environ[health.RUN_FOLDER] = folder
        if metrics is not None:
            # The processes keep their numbers together; whichever Prometheus reaches tells of all.
            (Path(folder) / "metrics").mkdir()
            os.environ |= {observing.LISTEN: metrics, observing.SHARED: str(Path(folder) / "metrics")}
        _serve(app, host, port, workers, with_worker, Path(folder), drain_wait)


_GRANIAN_LOG = {
    "loggers": {
        name: {"handlers": [], "level": "WARNING", "propagate": True} for name in ("_granian", "granian.access")
    }
}
"""What Granian logs goes where our own does, in the same form."""


def _is_news(record: logging.LogRecord) -> bool:
    # At each start it wonders at so many threads, nearly all of which never begin (`policy.BODIES_AWAITED_MAX`).
    return "allows spawning up to" not in record.getMessage()


def _raise_open_files() -> int:
    """How many files each process may open: what the system grants, up to what is wanted (O-6)."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = policy.OPEN_FILES_WANTED if most == resource.RLIM_INFINITY else min(policy.OPEN_FILES_WANTED, most)
    # A few slow callers fill the usual 1,024.
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return wanted


class _Replacements(dict[int, float]):
    """When Granian replaced which worker, as it asks before it replaces that one again.

    Of a second death within five seconds it makes a loop, and ends the server, with all that the other workers have
    begun. Two kills that come together are no loop (F-1): it hears of a replacement only once there were many.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: deque[float] = deque(maxlen=policy.WORKER_DEATHS_MAX)

    def __setitem__(self, worker: int, at: float) -> None:
        self._last.append(at)
        super().__setitem__(worker, at)

    def get(self, worker: int, default: float = 0) -> float:  # type: ignore[override]
        window = policy.WORKER_DEATHS_WINDOW.total_seconds()
        if len(self._last) < policy.WORKER_DEATHS_MAX or self._last[-1] - self._last[0] > window:
            return default
        return super().get(worker, default)


def _serve(app: Flask, host: str, port: int, workers: int, with_worker: bool, folder: Path, drain_wait: float) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    # All that serves is forked from here: neither SQLite's connections nor our locks may be open here by then
    # (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_).
    services: Services = app.extensions[EXTENSION]
    services.store.engine.dispose()
    beside = []
    multiprocessing.set_start_method("fork", force=True)  # no longer the usual one from Python 3.14 on
    _share_memory()
    if with_worker:
        beside.append(multiprocessing.Process(target=_work_beside, args=(app,), daemon=True))
    if services.settings.test_captcha_socket:
        beside.append(multiprocessing.Process(target=_answer_captchas, args=(services,), daemon=True))
    for process in beside:
        process.start()
    click.echo(f"serving {services.settings.issuer} on {host}:{port} with {workers} workers", err=True)
    logging.getLogger("_granian").addFilter(_is_news)
    server = Granian(
        "idp.app:create_server",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        # Browsers speak HTTP/2 only over TLS, which is the proxy's: one protocol, whose limits are known.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=policy.HEADERS_MAX),
        workers=workers,
        # Those that work, and those that wait for a body (web.limits). Each begins when it is needed.
        blocking_threads=policy.REQUESTS_AT_ONCE + policy.BODIES_AWAITED_MAX,
        backlog=2048,
        # Connections, not requests: with the usual 1,024 it would take no other while so many say nothing (O-6).
        backpressure=_raise_open_files() * 9 // 10,
        log_level=LogLevels.warning,
        log_dictconfig=_GRANIAN_LOG,
        respawn_failed_workers=True,
        workers_kill_timeout=int(policy.DRAIN_MAX.total_seconds()),
    )
    server.respawned_wrks = _Replacements()
    # It warns that there may be so many threads, and advises what would turn callers away.
    logging.getLogger("_granian").addFilter(lambda record: "Python threads" not in record.getMessage())

    main = os.getpid()

    def end(_signal: int, _frame: object) -> None:
        if os.getpid() != main:
            sys.exit()  # a worker that has these handlers from us, and not yet its own
        for process in beside:
            process.terminate()  # ends what it has begun meanwhile
        server.signal_handler_interrupt(None, None)  # type: ignore[no-untyped-call]

    def drain(number: int, frame: object) -> None:
        if os.getpid() != main:
            sys.exit()
        (folder / health.DRAINING).touch()
        if drain_wait:
            # Not sleep(): a second signal ends it at once.
            signal.signal(signal.SIGALRM, end)
            signal.signal(signal.SIGTERM, end)
            signal.setitimer(signal.ITIMER_REAL, drain_wait)
        else:
            end(number, frame)

    def take_signals() -> None:
        signal.signal(signal.SIGTERM, drain)
        signal.signal(signal.SIGINT, end)

    server.on_startup(take_signals)  # after Granian's own
    server.serve(target_loader=partial(_begin_worker, app), wrap_loader=False)


def _begin_worker(app: Flask) -> Flask:
    """What a worker process does before it serves."""
    if multiprocessing.parent_process() is not None:  # else whoever calls this is no worker, and has signals of its own
        _hear_the_end()
    return observe(app)


def _hear_the_end() -> None:
    """Have a thread of its own wait for SIGTERM and SIGINT, and do then what the handler of the time would.

    Python runs handlers in the main thread, which waits inside Granian until the server ends. A signal that the kernel
    gives to any other thread wakes nobody: such a worker served on until it was killed, and what it answered then was
    lost. So no thread takes them; all that begin after this one have them blocked, too.
    """
    ends = (signal.SIGTERM, signal.SIGINT)
    inherited: dict[int, object] = {number: signal.getsignal(number) for number in ends}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)

    def hear() -> None:
        number = signal.sigwait(ends)
        handler = signal.getsignal(number)
        if handler is inherited[number] or not callable(handler):
            os._exit(0)  # Granian has not put its own yet: nothing is served
        handler(number, None)

    threading.Thread(target=hear, name="signals", daemon=True).start()


def _share_memory() -> None:
    """Keep small what the workers will hold beside what they share with this process."""
    # A collection would write into every object, and so make a copy of every page, in each worker.
    gc.collect()
    gc.freeze()


@click.command()
@metrics_option
def worker(metrics: str | None) -> None:
    """Do the clock work until stopped: mail, warnings before passwords end, sweeps.

    SIGTERM ends it once what it has begun is done.
    """
    if metrics is not None:
        os.environ[observing.LISTEN] = metrics
    _work(open_app())


def _work_beside(app: Flask) -> None:
    # The server's own processes answer Prometheus, for this one too.
    os.environ.pop(observing.LISTEN, None)
    _work(app)


def _work(app: Flask) -> None:
    # Here and not above, as all that a server does without.
    from idp import jobs
    from idp.web.mailing import Mailer

    services: Services = app.extensions[EXTENSION]
    observing.configure_log(services)
    observing.start_metrics(services)
    observing.start_tracing()
    _run_until_told(lambda stop: jobs.run(services, Mailer(app).send, stop))


def _answer_captchas(services: Services) -> None:
    from idp.cli.captcha_socket import serve_answers

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
