"""Which rows of a queue a worker may take: what outbox and logout notices have in common."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_

from idp import policy


def is_due(
    queue: Any, now: datetime, *, longest_wait: timedelta, lease: timedelta
) -> tuple[ColumnElement[bool], ColumnElement[bool], ColumnElement[bool]]:
    """Conditions on a table with `due_at`, `leased_until` and `ended_at`: not ended, its time has come, nobody has it.

    `longest_wait` and `lease` are what the queue's worker may put a row off by, and keep it for. What is put off by
    more was put off by a clock that ran ahead and has been put right: waiting for that hour could take months (F-10).
    """
    late = now + longest_wait + policy.CLOCKS_APART_MAX
    held = now + lease + policy.CLOCKS_APART_MAX
    return (
        queue.ended_at.is_(None),
        or_(queue.due_at <= now, queue.due_at > late),
        or_(queue.leased_until.is_(None), queue.leased_until <= now, queue.leased_until > held),
    )
