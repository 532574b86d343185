"""Statements compiled once: on the hot paths SQLAlchemy's way from a statement to the driver costs more than the query.

The text, the conversion of each parameter and of each column are SQLAlchemy's own, so a prepared statement means what
it means when a connection executes it; only the work of finding that out is done once for each kind of database.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ClauseElement

VIOLATIONS = (IntegrityError, sqlite3.IntegrityError)
"""What a constraint of the database refuses; a prepared statement on SQLite says so in the driver's own word."""

_Convert = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one kind of database wants it."""

    text: str
    parameters: tuple[tuple[str, _Convert], ...]
    constants: Mapping[str, Any]
    """Converted already."""
    is_positional: bool
    columns: tuple[_Convert, ...]

    def bind(self, values: Mapping[str, Any]) -> Any:
        constants = self.constants
        if self.is_positional:
            return tuple(
                [
                    constants[name] if name in constants else values[name] if convert is None else convert(values[name])
                    for name, convert in self.parameters
                ]
            )
        return {
            name: constants[name] if name in constants else values[name] if convert is None else convert(values[name])
            for name, convert in self.parameters
        }


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
        return next(iter(self.all(tx, values)), None)

    def all(self, tx: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Every row."""
        form = self._form(tx.dialect)
        driver = tx.connection.dbapi_connection
        if isinstance(driver, sqlite3.Connection):
            return self._rows(form, driver.execute(form.text, form.bind(values)))
        return self._rows(form, tx.exec_driver_sql(form.text, form.bind(values)))

    def run(self, tx: Connection, values: Mapping[str, Any]) -> int:
        """How many rows it touched."""
        form = self._form(tx.dialect)
        driver = tx.connection.dbapi_connection
        if isinstance(driver, sqlite3.Connection):
            return driver.execute(form.text, form.bind(values)).rowcount
        return tx.exec_driver_sql(form.text, form.bind(values)).rowcount

    def first_of(self, driver: sqlite3.Connection, dialect: Dialect, values: Mapping[str, Any]) -> Any | None:
        """The first row, asked of SQLite's driver itself."""
        form = self._form(dialect)
        return next(iter(self._rows(form, driver.execute(form.text, form.bind(values)))), None)

    def _rows(self, form: _Form, cursor: Any) -> list[Any]:
        # All of them at once: an UPDATE ... RETURNING is over only when its last row has been fetched.
        found: Iterable[Sequence[Any]] = cursor.fetchall()
        make, columns = self._row._make, form.columns
        return [
            make([value if read is None else read(value) for value, read in zip(row, columns, strict=True)])
            for row in found
        ]

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
        return _Form(
            text=str(made),
            parameters=tuple((name, converts[name]) for name in names),
            constants=constants,
            is_positional=bool(made.positional),
            columns=tuple(kind.dialect_impl(dialect).result_processor(dialect, None) for kind in self._types),
        )
