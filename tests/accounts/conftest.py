"""A database of accounts and the doors over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from idp.db import Store, engine_options
from tests.accounts.house import House, make_house
from tests.tables import make_tables


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'accounts.db'}"
    engine = create_engine(url, **engine_options(url))
    store = Store(engine)
    make_tables(engine)
    yield store
    engine.dispose()


@pytest.fixture
def house(store: Store) -> House:
    return make_house(store)
