"""Warns by mail before a password ends: one mail for each step reached, whoever of several workers comes first."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, or_, select, update

from idp import policy
from idp.accounts.models import Account, State
from idp.accounts.usernames import parse_username
from idp.db import Store
from idp.outbox import Message, Outbox, Template


class ExpiryWarnings:
    """The mails of 7, 3 and 1 days before (`policy.EXPIRY_WARNINGS`). A new password begins the count anew."""

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    def enqueue_due(self, now: datetime) -> int:
        """Enqueue warnings for active accounts that have come to a step, the most urgent first; how many.

        Who comes to several at once, since no worker ran for days, gets the nearest only. What is more than
        `policy.EXPIRY_WARNINGS_AT_ONCE` is left for the next time.
        """
        warned = 0
        for step in sorted(policy.EXPIRY_WARNINGS):
            warned += self._warn_some(step, now, policy.EXPIRY_WARNINGS_AT_ONCE - warned)
        return warned

    def is_true(self, message: Message, now: datetime) -> bool:
        """Whether what a warning says still holds: the password that it is about is the present one, and not over."""
        ends_at = datetime.fromisoformat(message.parameters["expires_at"])
        present = select(Account.password_changed_at).where(
            Account.id == message.parameters["account_id"], Account.state == State.ACTIVE
        )
        with self._store.read() as connection:
            changed_at = connection.execute(present).scalar()
        return now < ends_at and changed_at is not None and changed_at + policy.PASSWORD_LIFETIME == ends_at

    # -- inside --------------------------------------------------------------------------------------------------------

    def _warn_some(self, step: int, now: datetime, limit: int) -> int:
        warned, after = 0, ""
        while warned < limit:
            batch = min(policy.EXPIRY_WARNING_BATCH, limit - warned)
            with self._store.read() as connection:
                rows = connection.execute(_at_step(step, now, after).limit(batch)).all()
            if not rows:
                break
            after = rows[-1].id
            with self._store.write() as tx:
                for row in rows:
                    mine = update(Account).where(
                        Account.id == row.id,
                        Account.state == State.ACTIVE,
                        Account.password_changed_at == row.password_changed_at,
                        or_(Account.expiry_warned.is_(None), Account.expiry_warned > step),
                    )
                    # S-2: of several workers the one whose statement changes the row sends the mail.
                    if tx.execute(mine.values(expiry_warned=step)).rowcount != 1:
                        continue
                    ends_at = row.password_changed_at + policy.PASSWORD_LIFETIME
                    self._outbox.enqueue(
                        tx,
                        Template.PASSWORD_EXPIRES,
                        recipient=row.email,
                        locale=row.locale,
                        parameters={
                            "account_id": row.id,
                            "username": parse_username(row.username).masked,
                            "expires_at": ends_at.isoformat(),
                            "days": step,
                        },
                        now=now,
                    )
                    warned += 1
        return warned


def _at_step(step: int, now: datetime, after: str) -> Select[*tuple[Any, ...]]:
    """The next accounts whose password ends within `step` days and that have not been told so."""
    begun = now - policy.PASSWORD_LIFETIME
    return (
        select(Account.id, Account.username, Account.email, Account.locale, Account.password_changed_at)
        .where(
            Account.id > after,
            Account.state == State.ACTIVE,
            Account.password_changed_at > begun,
            Account.password_changed_at <= begun + timedelta(days=step),
            or_(Account.expiry_warned.is_(None), Account.expiry_warned > step),
        )
        .order_by(Account.id)
    )
