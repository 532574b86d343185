"""Statements compiled once: on the hot paths SQLAlchemy's way from a statement to the driver costs more than the query.

The text, the conversion of each parameter and of each column are SQLAlchemy's own, so a prepared statement means what
it means when a connection executes it; only the work of finding that out is done once for each kind of database. Both
drivers, sqlite3 and psycopg, execute it the same way, and what they raise is theirs: `Store` knows it.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ClauseElement


class Violated(Exception):
    """A constraint of the database refuses what a prepared statement does; the cause is the driver's."""


VIOLATIONS = (IntegrityError, Violated)
"""That, whether a statement is prepared or not."""

_Convert = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one kind of database wants it."""

    text: str
    names: tuple[str, ...]
    converts: tuple[tuple[str, _Convert], ...]
    constants: Mapping[str, Any]
    """Converted already."""
    is_positional: bool
    reads: tuple[tuple[int, Callable[[Any], Any]], ...]
    """By place, how those columns are read that are not what the driver gives."""
    violation: type[Exception]
    """The driver's word for it."""

    def bind(self, values: Mapping[str, Any]) -> Any:
        constants = self.constants
        found = [
            constants[name] if name in constants else values[name] if convert is None else convert(values[name])
            for name, convert in self.converts
        ]
        return found if self.is_positional else dict(zip(self.names, found, strict=True))


class Prepared:
    """A statement for a fixed set of parameters. Its rows are named tuples of the columns' keys.

    `inserts` names the columns of an INSERT. A parameter is given at each call, or stands in the statement as a
    constant; lists of unknown length (`IN`) are not for here.
    """

    def __init__(self, statement: ClauseElement, *, inserts: tuple[str, ...] = ()) -> None:
        self._statement = statement
        self._inserts = inserts
        self._forms: dict[str, _Form] = {}
        returned = list(getattr(statement, "exported_columns", ()))
        self._types = [column.type for column in returned]
        self._row: Any = namedtuple("Row", [column.key for column in returned]) if returned else None

    def first(self, tx: Connection, values: Mapping[str, Any]) -> Any | None:
        """The first row, or None."""
        rows = self.all(tx, values)
        return rows[0] if rows else None

    def all(self, tx: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Every row."""
        return self._all(tx.connection.dbapi_connection, tx.dialect, values)

    def run(self, tx: Connection, values: Mapping[str, Any]) -> int:
        """How many rows it touched."""
        touched: int = self._execute(tx.connection.dbapi_connection, self._form(tx.dialect), values).rowcount
        return touched

    def first_of(self, driver: Any, dialect: Dialect, values: Mapping[str, Any]) -> Any | None:
        """The first row, or None, asked of a connection of the driver itself."""
        rows = self._all(driver, dialect, values)
        return rows[0] if rows else None

    def _all(self, driver: Any, dialect: Dialect, values: Mapping[str, Any]) -> list[Any]:
        form = self._form(dialect)
        # All of them at once: an UPDATE ... RETURNING is over only when its last row has been fetched.
        found: Iterable[Sequence[Any]] = self._execute(driver, form, values).fetchall()
        make, rows = self._row._make, []
        for row in found:
            cells = list(row)
            for place, read in form.reads:
                cells[place] = read(cells[place])
            rows.append(make(cells))
        return rows

    def _execute(self, driver: Any, form: _Form, values: Mapping[str, Any]) -> Any:
        try:
            return driver.execute(form.text, form.bind(values))
        except form.violation as error:
            raise Violated from error

    def _form(self, dialect: Dialect) -> _Form:
        form = self._forms.get(dialect.name)
        if form is None:
            form = self._forms[dialect.name] = self._compile(dialect)
        return form

    def _compile(self, dialect: Dialect) -> _Form:
        statement: Any = self._statement
        if isinstance(statement, Insert) and self._row is None:
            statement = statement.inline()  # without RETURNING, since nobody asks for the number of the row
        made = statement.compile(dialect=dialect, column_keys=list(self._inserts) or None)
        names = made.positiontup if made.positional else list(made.binds)
        converts = {name: made.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names}
        constants = {}
        for name in names:
            bound = made.binds[name]
            if not bound.required and name not in self._inserts:
                convert = converts[name]
                constants[name] = bound.effective_value if convert is None else convert(bound.effective_value)
        reads = [kind.dialect_impl(dialect).result_processor(dialect, None) for kind in self._types]
        return _Form(
            text=str(made),
            names=tuple(names),
            converts=tuple((name, converts[name]) for name in names),
            constants=constants,
            is_positional=bool(made.positional),
            violation=dialect.loaded_dbapi.IntegrityError,
            reads=tuple((place, read) for place, read in enumerate(reads) if read is not None),
        )
