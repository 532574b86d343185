"""Logout notices: by the back channel, queued with the end of a session and delivered by the worker, or by frames."""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from idp_kit.logout import LOGOUT_EVENT, LOGOUT_TYP
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from idp import audit, policy
from idp.db import Store, StoreUnavailable, own_insert
from idp.due import is_due
from idp.prepared import Prepared
from idp.protocol.clients import Client, Clients
from idp.protocol.fetch import FetchProblem
from idp.protocol.messages import with_parameters
from idp.protocol.models import ClientRecord, LogoutDelivery, SessionClient
from idp.protocol.tokens import Tokens

_log = logging.getLogger(__name__)

PostForm = Callable[[str, Mapping[str, str]], int]
"""`Fetcher.post_form`: the status of the answer, or `FetchProblem`. Called from several threads at once."""

_S, _D, _C = SessionClient, LogoutDelivery, ClientRecord
_ERROR_LENGTH_MAX = 200


@cache
def _remember(dialect: str) -> Prepared:
    statement = own_insert(dialect)(_S)
    statement = statement.on_conflict_do_update(
        index_elements=["sid", "client_id"], set_={"expires_at": statement.excluded.expires_at}
    )
    return Prepared(statement, inserts=("sid", "client_id", "account_id", "expires_at"))


_CLIENTS_OF = select(_S.client_id).where(_S.sid == bindparam("sid")).order_by(_S.client_id)
_FORGET_SESSION = delete(_S).where(_S.sid == bindparam("a_sid")).returning(_S.sid, _S.client_id, _S.account_id)
_FORGET_ACCOUNT = (
    delete(_S).where(_S.account_id == bindparam("an_account")).returning(_S.sid, _S.client_id, _S.account_id)
)
_NOTICE = (_D.id, _D.client_id, _D.account_id, _D.sid, _D.attempts)


def remember_client(tx: Connection, sid: str, client_id: str, account_id: str, expires_at: datetime) -> None:
    """Note that a client has tokens of this session, so that it is told of its end; `expires_at` is the latest end."""
    row = {"sid": sid, "client_id": client_id, "account_id": account_id, "expires_at": expires_at}
    _remember(tx.dialect.name).run(tx, row)


@dataclass(frozen=True, slots=True)
class Notice:
    """A back-channel notice that is to be delivered now."""

    id: str
    client_id: str
    account_id: str
    sid: str
    attempts: int
    """How often it was tried, this time included."""


class Notices:
    """Who is told of the end of a session, and the telling."""

    def __init__(self, store: Store, clients: Clients, tokens: Tokens, *, post_form: PostForm) -> None:
        self._store = store
        self._clients = clients
        self._tokens = tokens
        self._post_form = post_form

    # -- at the end of a session -------------------------------------------------------------------------------------

    def queue_for_session(self, tx: Connection, sid: str, now: datetime) -> int:
        """Queue a notice for each client of the session that asked for one; how many. A second call finds nobody."""
        return self._queue(tx, tx.execute(_FORGET_SESSION, {"a_sid": sid}).all(), now)

    def queue_for_account(self, tx: Connection, account_id: str, now: datetime) -> int:
        """The same for every session of an account: disabled, or a new password."""
        return self._queue(tx, tx.execute(_FORGET_ACCOUNT, {"an_account": account_id}).all(), now)

    def _queue(self, tx: Connection, gone: Sequence[Any], now: datetime) -> int:
        if not gone:
            return 0
        asked = select(_C.client_id).where(
            _C.client_id.in_({row.client_id for row in gone}), _C.backchannel_logout_uri.is_not(None)
        )
        listening = set(tx.scalars(asked))
        rows = [
            {
                "id": str(uuid.uuid4()),
                "client_id": row.client_id,
                "account_id": row.account_id,
                "sid": row.sid,
                "created_at": now,
                "due_at": now,
                "attempts": 0,
            }
            for row in gone
            if row.client_id in listening
        ]
        if rows:
            tx.execute(insert(_D), rows)
        return len(rows)

    def frames_of(self, sid: str) -> tuple[str, ...]:
        """The addresses that the browser has to load at the end of the session (OIDC Front-Channel Logout section 3).

        Ask before the session ends: afterwards nobody knows its clients.
        """
        with self._store.read() as connection:
            client_ids = connection.scalars(_CLIENTS_OF, {"sid": sid}).all()
        frames = []
        for client in filter(None, map(self._clients.find, client_ids)):
            uri = client.details.frontchannel_logout_uri
            if uri is not None:
                told = client.details.frontchannel_logout_session_required
                frames.append(with_parameters(uri, {"iss": self._tokens.issuer, "sid": sid} if told else {}))
        return tuple(frames)

    # -- the worker --------------------------------------------------------------------------------------------------

    def deliver_due(self, now: datetime, *, stop: threading.Event | None = None) -> "Counter[str]":
        """Tell the clients whose notices are due, several at once; how many ended `sent`, `failed` or `deferred`.

        A notice is leased for its try: of any number of workers one delivers it, and if that one dies another tries
        again. Once `stop` is set no further one is begun.
        """
        began = time.monotonic()

        def clock() -> datetime:
            return now + timedelta(seconds=time.monotonic() - began)

        count: Counter[str] = Counter()
        running: set[Future[str]] = set()
        with ThreadPoolExecutor(policy.NOTICE_PARALLEL_MAX, thread_name_prefix="notice") as pool:
            while True:
                if stop is None or not stop.is_set():
                    due = self._take(clock(), policy.NOTICE_PARALLEL_MAX - len(running))
                    running |= {pool.submit(self._deliver, notice, clock) for notice in due}
                if not running:
                    return count
                ended, running = wait(
                    running, timeout=policy.NOTICE_POLL_INTERVAL.total_seconds(), return_when=FIRST_COMPLETED
                )
                count.update(each.result() for each in ended)

    def sweep(self, now: datetime) -> int:
        """Delete what is over: sessions that can be no longer, notices that ended long ago; how many rows."""
        with self._store.write() as tx:
            sessions = tx.execute(delete(_S).where(_S.expires_at <= now - policy.NOTICE_SESSION_MARGIN)).rowcount
            return int(sessions + tx.execute(delete(_D).where(_D.ended_at < now - policy.NOTICE_KEPT)).rowcount)

    def mint(self, notice: Notice, client: Client, now: datetime) -> str:
        """The logout token (OIDC Back-Channel Logout section 2.4): with `sub` and `sid`, and never a nonce.

        Signed as the client's ID tokens are, and encrypted where they are.
        """
        issued_at = int(now.timestamp())
        claims = {
            "iss": self._tokens.issuer,
            "sub": self._tokens.sub_for(client, notice.account_id),
            "aud": client.client_id,
            "iat": issued_at,
            "exp": issued_at + int(policy.LOGOUT_TOKEN_LIFETIME.total_seconds()),
            # Each try has its own, so that one whose answer was lost is not taken for a replay.
            "jti": f"{notice.id}.{notice.attempts}",
            "sid": notice.sid,
            "events": {LOGOUT_EVENT: {}},
        }
        return self._tokens.sealing.seal_id_token(claims, client, now, typ=LOGOUT_TYP)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _take(self, now: datetime, room: int) -> list[Notice]:
        """Up to `room` due notices, leased: nobody else gets them meanwhile (S-2)."""
        if room <= 0:
            return []
        free = is_due(_D, now, longest_wait=max(policy.NOTICE_RETRIES), lease=policy.NOTICE_LEASE)
        with self._store.read() as connection:
            # An idle worker writes nothing.
            if connection.execute(select(_D.id).where(*free).limit(1)).first() is None:
                return []
        chosen = select(*_NOTICE).where(*free).order_by(_D.due_at).limit(room).with_for_update(skip_locked=True)
        with self._store.write() as tx:
            rows = tx.execute(chosen).all()
            lease = update(_D).where(_D.id.in_([row.id for row in rows]))
            tx.execute(lease.values(leased_until=now + policy.NOTICE_LEASE, attempts=_D.attempts + 1))
        return [Notice(row.id, row.client_id, row.account_id, row.sid, row.attempts + 1) for row in rows]

    def _deliver(self, notice: Notice, clock: Callable[[], datetime]) -> str:
        try:
            problem, is_final = self._attempt(notice, clock())
            return self._settle(notice, clock(), problem, is_final=is_final)
        except StoreUnavailable:
            # Its lease ends by itself, and it is tried again.
            return "deferred"

    def _attempt(self, notice: Notice, now: datetime) -> tuple[str | None, bool]:
        """Tell the client: what went wrong, if anything did, and whether trying again is of no use."""
        client = self._clients.find(notice.client_id)
        if client is None or client.backchannel_logout_uri is None:
            return "the client asks for no notices any more", True
        try:
            token = self.mint(notice, client, now)
            status = self._post_form(client.backchannel_logout_uri, {"logout_token": token})
        except FetchProblem as error:
            return str(error), False
        except StoreUnavailable:
            raise
        except Exception as error:
            # Ours, such as a key that cannot be read; its kind alone, since its text may hold anything (O-2).
            return f"our own error: {type(error).__name__}", False
        # OIDC Back-Channel Logout section 2.8: 200, and 204 from frameworks that make one of an empty body; 400 says
        # that the client will not have it.
        return (None if status in {200, 204} else f"HTTP {status}"), status == 400

    def _settle(self, notice: Notice, now: datetime, problem: str | None, *, is_final: bool) -> str:
        mine = update(_D).where(_D.id == notice.id, _D.ended_at.is_(None))
        if problem is not None and not is_final and notice.attempts <= len(policy.NOTICE_RETRIES):
            retry_at = now + policy.NOTICE_RETRIES[notice.attempts - 1]
            # What else is due for a client that does not answer lets the other clients go first.
            others_at = now + policy.NOTICE_RETRIES[0]
            others = update(_D).where(
                _D.client_id == notice.client_id,
                _D.ended_at.is_(None),
                _D.leased_until.is_(None),
                _D.due_at < others_at,
            )
            with self._store.write() as tx:
                tx.execute(
                    mine.where(_D.attempts == notice.attempts).values(
                        due_at=retry_at, leased_until=None, error=problem[:_ERROR_LENGTH_MAX]
                    )
                )
                tx.execute(others.values(due_at=others_at))
            return "deferred"
        outcome = "sent" if problem is None else "failed"
        with self._store.write() as tx:
            ended = {"ended_at": now, "outcome": outcome, "error": problem, "leased_until": None}
            changed = tx.execute(mine.values(ended)).rowcount
            if changed and problem is not None:
                detail = {"attempts": notice.attempts, "reason": problem}
                audit.record(tx, audit.Event.LOGOUT_NOTICE_FAIL, now=now, client_id=notice.client_id, detail=detail)
        if problem is not None:
            _log.error("notices: client %s was not told of a sign-out: %s", notice.client_id, problem)
        return outcome
