"""What a connection to PostgreSQL needs so that no node waits for ever, and none is waited for."""

import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError

from idp import meters, policy
from idp.prepared import Prepared

Error = psycopg.Error
"""What prepared statements raise, which go past SQLAlchemy to the driver."""
_NONE = "none"
_READ_ONLY = "25006"
"""SQLSTATE read_only_sql_transaction: we write to a server that is a standby now, or still."""


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection on which nothing takes longer than `deadline` seconds, whatever the server does (F-8).

    The server's own `statement_timeout` is of no use where the server hangs. What has been given up is not cancelled:
    a COMMIT that waits for its standby would then count as done without it. The connection is closed instead, and
    nobody was told that anything happened.
    """

    deadline: float | None = policy.STORE_DEADLINE.total_seconds()

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is None:
            timeout = self.deadline
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            # Not the server's word, which has an SQLSTATE: there was none.
            if error.sqlstate is None:
                self.close()
            raise


_POOL = {"pool_size": 8, "max_overflow": 0, "pool_timeout": 5}
"""Connections of one process to read with, and as many to write: sixteen requests work at once, mostly on neither."""


def engine_options(url: str) -> dict[str, Any]:
    """The `create_engine` options for the connections that write."""
    return {**_POOL, "connect_args": connect_args(url)}


def connect_args(url: str) -> dict[str, Any]:
    """What every connection is opened with; the URL says otherwise by the same name.

    `options=none` and `prepare_threshold=none` are for a pooler that passes on neither (an empty value would be lost on
    the way, as SQLAlchemy drops it).
    """
    connect = int(policy.STORE_CONNECT_TIMEOUT.total_seconds())
    abandoned = int(policy.STORE_ABANDONED_AFTER.total_seconds())
    server = {
        # Rows held by a node that died are free again after this, and a statement whose caller has gone ends.
        "idle_in_transaction_session_timeout": f"{abandoned}s",
        "client_connection_check_interval": "2s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    own = {
        "connect_timeout": connect,
        "application_name": "llavero",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
    }
    given = make_url(url).query
    arguments: dict[str, Any] = {name: value for name, value in own.items() if name not in given}
    # These go before what the URL says.
    if given.get("options") == _NONE:
        arguments["options"] = ""
    if given.get("prepare_threshold") == _NONE:
        arguments["prepare_threshold"] = None
    return arguments


def prepare(engine: Engine) -> None:
    """Make every connection of `engine` one with a deadline, and a server that turned read-only a lost one."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "handle_error", _judge)
    event.listen(engine, "checkout", _look)


def make_reader(writer: Engine) -> Engine:
    """An engine over the same database whose connections are for single queries, each of which sees the last commit.

    To switch a connection between that and transactions, and back, costs as much as a query.
    """
    options = {**_POOL, "connect_args": connect_args(writer.url.render_as_string(hide_password=True))}
    # A query by itself leaves nothing that would have to be reset.
    options["pool_reset_on_return"] = None
    reader = create_engine(writer.url, hide_parameters=True, isolation_level="AUTOCOMMIT", **options)
    prepare(reader)
    event.listen(writer, "engine_disposed", lambda _writer: reader.dispose())
    return reader


class Readers:
    """Single queries past SQLAlchemy's connections, which cost as much as the query; its pool keeps the driver's."""

    def __init__(self, reader: Engine) -> None:
        self._reader = reader

    def first(self, statement: Prepared, values: Mapping[str, Any]) -> Any | None:
        """The first row that a query finds, or None."""
        held = self._reader.raw_connection()
        try:
            return statement.first_of(held.dbapi_connection, self._reader.dialect, values)
        except psycopg.Error as error:
            _give_up(held, error, self._reader)
            raise
        finally:
            held.close()


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A connection, given up where it turns out to be lost."""
    with engine.connect() as connection:
        try:
            yield connection
        except psycopg.Error as error:
            _give_up(connection, error, engine)
            raise


@contextmanager
def begun(engine: Engine) -> Iterator[Connection]:
    """`Engine.begin`, whose commit is timed."""
    with connected(engine) as connection, connection.begin() as transaction:
        yield connection
        meters.timed(meters.Timed.COMMIT, transaction.commit)


def is_unanswered(error: Exception) -> bool:
    """Whether the server did not answer, or takes no writes; what is wrong with a statement is another matter."""
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or _is_read_only(error)


def _give_up(held: Connection | PoolProxiedConnection, error: psycopg.Error, engine: Engine) -> None:
    """As SQLAlchemy does with an error of its own: one lost connection means that the others are, too."""
    pooled: Any = held.connection if isinstance(held, Connection) else held
    if pooled.dbapi_connection.closed or _is_read_only(error):
        held.invalidate(error)
        engine.dispose()


def _is_read_only(error: BaseException) -> bool:
    return getattr(error, "sqlstate", None) == _READ_ONLY


def without_deadline(driver_connection: Any) -> None:
    """For work that may take its time: migrations."""
    driver_connection.deadline = None


def _connect(_dialect: Dialect, _record: Any, arguments: Any, parameters: dict[str, Any]) -> DeadlineConnection:
    connection: DeadlineConnection = DeadlineConnection.connect(*arguments, **parameters)
    return connection


def _look(driver: DeadlineConnection, _record: Any, _proxy: Any) -> None:
    """Refuse a connection whose other end is closed: after a restart every one is.

    A server that ended its side can be seen to have, without asking it: that is one more round trip for each query,
    and half of what a query costs here.
    """
    if not driver.closed:
        awaiting = select.poll()
        awaiting.register(driver.fileno(), select.POLLIN)
        if not awaiting.poll(0):
            return
    raise DisconnectionError("the server has closed it")


def _judge(context: ExceptionContext) -> None:
    # The pool is emptied then, and asks the URL's hosts again which of them takes writes.
    if _is_read_only(context.original_exception):
        context.is_disconnect = True
