"""What every test shares."""

from datetime import UTC, datetime

import pytest


@pytest.fixture
def now() -> datetime:
    """An instant that no test changes: Tuesday 24 November 2026, 12:00 in Mexico City."""
    return datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
