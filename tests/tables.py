"""The tables of the server on an empty database, as `create_all` makes them and many times as fast."""

from functools import cache

from sqlalchemy import Engine, create_mock_engine, make_url

from idp.db import Base


def make_tables(engine: Engine) -> None:
    """Make every table and index that is known so far, in one transaction."""
    script = _script(engine.url.drivername, len(Base.metadata.tables))
    connection = engine.raw_connection()
    try:
        if engine.dialect.name == "sqlite":
            # It has a transaction of its own for each statement, unless it is told of one.
            connection.cursor().executescript(f"BEGIN; {script} COMMIT;")
        else:
            connection.cursor().execute(script)
            connection.commit()
    finally:
        connection.close()


@cache
def _script(driver: str, known: int) -> str:
    """What `create_all` would say. Tables become `known` as the modules that define them are imported."""
    statements: list[str] = []
    url = make_url(f"{driver}://")
    dialect = url.get_dialect()()
    mock = create_mock_engine(url, lambda each, *_, **__: statements.append(str(each.compile(dialect=dialect))))
    Base.metadata.create_all(mock, checkfirst=False)
    assert statements
    return "".join(f"{statement};" for statement in statements)
