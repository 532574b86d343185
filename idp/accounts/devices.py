"""Browsers that have signed in before, known by their device cookie."""

import secrets
from base64 import urlsafe_b64encode
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, delete, select

from idp import policy
from idp.accounts.models import Account, KnownDevice
from idp.db import Store
from idp.prepared import Prepared

if TYPE_CHECKING:
    from idp.accounts.usernames import Username

_COOKIE_BYTES = 32
_COOKIE_LENGTH = 43

_D = KnownDevice
# One statement whoever has the name, so that the look-up tells nothing (L-9).
_FIND = Prepared(
    select(_D.digest, _D.created_at)
    .join(Account, Account.id == _D.account_id)
    .where(
        _D.digest == bindparam("digest"),
        _D.expires_at > bindparam("now"),
        Account.username == bindparam("username"),
    )
)
_KNOWN = select(_D.digest, _D.created_at).where(
    _D.account_id == bindparam("account_id"), _D.expires_at > bindparam("now")
)
_IS_KNOWN = Prepared(select(_D.digest).where(_D.digest == bindparam("digest")).limit(1))
_END_OLD = Prepared(delete(_D).where(_D.digest == bindparam("digest"), _D.expires_at <= bindparam("now")))


class Devices:
    """Which browsers an account has signed in from (L-6). One cookie serves every account of a browser.

    The cookie's value is random and the table has its digest: what was not given out by us is found nowhere. Where
    the deployment has it off, every browser is a stranger and none is remembered.
    """

    def __init__(self, store: Store, *, enabled: bool) -> None:
        self._store = store
        self._enabled = enabled
        new = store.insert(_D)
        known = new.on_conflict_do_update(
            index_elements=["digest", "account_id"], set_={"expires_at": new.excluded.expires_at}
        )
        self._remember = Prepared(known, inserts=("digest", "account_id", "created_at", "expires_at"))

    def find(self, cookie: str | None, username: "Username", now: datetime) -> str | None:
        """What this browser's failures on the name are counted under, or None: a stranger.

        It names the acquaintance, not the cookie alone: who is forgotten and comes to be known again counts afresh.
        """
        if not self._enabled or cookie is None or not _is_shaped(cookie):
            return None
        wanted = {"digest": _digest(cookie), "now": now, "username": username.canonical}
        row = self._store.first(_FIND, wanted)
        return None if row is None else _name(row)

    def of(self, connection: Connection, account_id: str, now: datetime) -> tuple[str, ...]:
        """The browsers that this account knows, each as `find` names it. For operators."""
        rows = connection.execute(_KNOWN, {"account_id": account_id, "now": now}).all() if self._enabled else []
        return tuple(map(_name, rows))

    def remember(self, tx: Connection, cookie: str | None, account_id: str, now: datetime) -> str | None:
        """Know this browser from now on; the cookie to set, or None where none is wanted.

        The value stays only if we gave it out and it is still good, so that nobody can choose one for another.
        """
        if not self._enabled:
            return None
        value = cookie if cookie is not None and self._is_known(tx, cookie, now) else None
        value = value or secrets.token_urlsafe(_COOKIE_BYTES)
        expires_at = now + policy.DEVICE_LIFETIME
        row = {"digest": _digest(value), "account_id": account_id, "created_at": now, "expires_at": expires_at}
        self._remember.run(tx, row)
        return value

    def end_all(self, tx: Connection, account_id: str) -> int:
        """Every browser is a stranger to this account from now on (W-4); how many were not."""
        return int(tx.execute(delete(_D).where(_D.account_id == account_id)).rowcount)

    def void(self, tx: Connection) -> None:
        """Every browser is a stranger to everybody from now on: after a restore, which knows none of those it lost."""
        tx.execute(delete(_D))

    def sweep(self, now: datetime) -> int:
        """Delete the rows that have ended; how many went."""
        with self._store.write() as tx:
            return int(tx.execute(delete(_D).where(_D.expires_at <= now)).rowcount)

    def _is_known(self, tx: Connection, cookie: str, now: datetime) -> bool:
        if not _is_shaped(cookie):
            return False
        digest = _digest(cookie)
        # What has ended must not come back to life with its old counter.
        _END_OLD.run(tx, {"digest": digest, "now": now})
        return _IS_KNOWN.first(tx, {"digest": digest}) is not None


def _is_shaped(cookie: str) -> bool:
    return len(cookie) == _COOKIE_LENGTH and cookie.isascii()


def _name(row: Any) -> str:
    return f"{row.digest}@{row.created_at.isoformat()}"


def _digest(cookie: str) -> str:
    return urlsafe_b64encode(sha256(cookie.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


__all__ = ["Devices"]
