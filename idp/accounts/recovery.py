"""The door `Recovery`: a forgotten password, by the secret question or by a mailed link."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from idp import audit, policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import HashingOverloaded, PermitGone, QuestionClosed, UsernameLocked, WrongAnswer
from idp.accounts.links import INVITE, RECOVER, Links
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, State
from idp.accounts.passwords import Hasher, normalise_answer
from idp.accounts.permits import Means, Permit
from idp.accounts.profiles import LOCALES
from idp.accounts.questions import pick_decoy
from idp.accounts.renewal import Renewal
from idp.accounts.throttle import AddressThrottle
from idp.accounts.usernames import Username
from idp.audit import Event
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.outbox import Outbox, Template

_REMINDER = "reminder"
_FIND = select(
    Account.id,
    Account.state,
    Account.name,
    Account.email,
    Account.locale,
    Account.question,
    Account.answer_hash,
    Account.epoch,
).where(Account.username == bindparam("username"))
_LOCK = _FIND.with_for_update()
_STILL = select(Account.state, Account.epoch).where(Account.id == bindparam("account_id"))

_PURPOSES = {State.ACTIVE: RECOVER, State.INVITED: INVITE}


class Recovery:
    """What the recovery pages ask of accounts. Whoever a name belongs to, or nobody, the same is said and done.

    `mode` is what a right answer is worth: `alone` a new password, `then_link` a mailed link; `off` asks nobody.
    """

    def __init__(
        self,
        store: Store,
        hasher: Hasher,
        question_lockout: Lockout,
        throttle: AddressThrottle,
        ephemeral: Ephemeral,
        outbox: Outbox,
        links: Links,
        renewal: Renewal,
        *,
        decoy_key: bytes,
        mode: str = "alone",
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._lockout = question_lockout
        self._throttle = throttle
        self._ephemeral = ephemeral
        self._outbox = outbox
        self._links = links
        self._renewal = renewal
        self._decoy_key = decoy_key
        self.mode = mode

    # -- by question -------------------------------------------------------------------------------------------------

    def question_for(self, username: Username) -> str:
        """The key of the question that this name is asked: its own, or a decoy that never changes (Q-2)."""
        decoy = pick_decoy(username.canonical, self._decoy_key)
        with self._store.read() as connection:
            row = connection.execute(_FIND, {"username": username.canonical}).first()
        return decoy if row is None or row.question is None else str(row.question)

    def is_closed(self, username: Username, now: datetime) -> bool:
        """Whether the question is closed, for this name or, by its mode, for all (Q-3)."""
        return self.mode == "off" or self._lockout.is_locked(self._lockout.key_of(username), now)

    def answer(self, username: Username, answer: str, *, attempt: Attempt, now: datetime) -> Permit | None:
        """Leave to set a password, for the right answer of an active account; None where a link was mailed instead.

        Refused alike, in the same time: an unknown name, one without a question, a wrong answer, an account that is
        disabled or not activated (`WrongAnswer`); the third in a day is `QuestionClosed`, and so is whatever follows
        it. `AddressThrottled` comes before either. `HashingOverloaded` counts nothing. Signing in is not concerned:
        that counter is neither fed nor lifted. Each comparison leaves one row in the audit trail.
        """
        if self.mode == "off":
            raise QuestionClosed
        with self._store.read() as connection:
            row = connection.execute(_FIND, {"username": username.canonical}).first()
        key = self._lockout.key_of(username)
        account_id = None if row is None else row.id
        self._count(username, key, account_id, attempt, now)
        is_open = row is not None and row.state == State.ACTIVE and row.question is not None
        try:
            is_right = self._hasher.verify(normalise_answer(answer), row.answer_hash if is_open and row else None)
        except HashingOverloaded:
            with self._store.write() as tx:
                self._lockout.give_back(tx, key, now)
                self._throttle.give_back(attempt.address, now, tx=tx)
            raise
        if is_right and row is not None and self._succeed(username, key, row, attempt, now):
            if self.mode == "then_link":
                return None
            return Permit(row.id, username.canonical, row.epoch, Means.QUESTION, now + policy.PERMIT_LIFETIME)
        with self._store.write() as tx:
            failure = self._lockout.fail(tx, key, now)
            self._record(tx, Event.QUESTION_FAILURE, username, account_id, now)
            if failure.locks:
                self._record(tx, Event.QUESTION_CLOSE, username, account_id, now)
        if failure.attempts_left == 0:
            raise QuestionClosed
        raise WrongAnswer(failure.attempts_left)

    # -- by mail -----------------------------------------------------------------------------------------------------

    def send_reminder(self, username: Username, *, attempt: Attempt, now: datetime) -> None:
        """Have the link mailed to the registered address: an invited person gets the invitation once more.

        Says nothing, and does the same, for names nobody has, disabled accounts, and who asks again within
        `REMINDER_INTERVAL` (R-9). `AddressThrottled` depends on the address alone.
        """
        self._throttle.count_reminder(attempt.address, now)
        with self._store.write() as tx:
            row = tx.execute(_FIND, {"username": username.canonical}).first()
            self._enqueue_reminder(tx, username, row, now)

    def open_link(self, code: str, now: datetime) -> Permit:
        """What `Links.open` says."""
        return self._links.open(code, now)

    # -- the new password --------------------------------------------------------------------------------------------

    def check_permit(self, permit: Permit, now: datetime) -> None:
        """`PermitGone` unless a password could be set with it now, whatever it came from."""
        with self._store.read() as connection:
            row = connection.execute(_STILL, {"account_id": permit.account_id}).first()
        state = State.INVITED if permit.means is Means.INVITATION else State.ACTIVE
        if permit.is_over(now) or row is None or row.epoch != permit.epoch or row.state != state:
            raise PermitGone

    def set_password(
        self,
        permit: Permit,
        new_password: str,
        *,
        question: str | None = None,
        answer: str | None = None,
        now: datetime,
    ) -> datetime:
        """Set the password, and question and answer if they are given; when it ends. It signs nobody in (R-10).

        For a right answer or a mailed link; every other permit is refused. See `Renewal.renew`.
        """
        if permit.means not in {Means.QUESTION, Means.LINK}:
            raise PermitGone
        return self._renewal.renew(
            permit, new_password, question=question, answer=answer, now=now, event=Event.PASSWORD_RESET
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _count(self, username: Username, key: str, account_id: str | None, attempt: Attempt, now: datetime) -> None:
        def count_address(tx: Connection) -> None:
            self._throttle.check_and_count(attempt.address, now, tx=tx)

        try:
            self._lockout.count_attempt(key, now, answered=True, also=count_address)
        except UsernameLocked:
            with self._store.write() as tx:
                self._record(tx, Event.QUESTION_REFUSED_CLOSED, username, account_id, now)
                if self._lockout.note_lock(tx, key, now):
                    self._record(tx, Event.QUESTION_CLOSE, username, account_id, now)
            raise QuestionClosed from None

    def _succeed(self, username: Username, key: str, row: Any, attempt: Attempt, now: datetime) -> bool:
        """Settle a right answer; False where it is right no longer. `QuestionClosed` if that came meanwhile."""
        with self._store.write() as tx:
            still = tx.execute(_LOCK, {"username": username.canonical}).first()
            if still is None or (still.id, still.epoch, still.state) != (row.id, row.epoch, State.ACTIVE):
                return False
            is_open = self._lockout.give_back(tx, key, now)
            if is_open:
                self._throttle.give_back(attempt.address, now, tx=tx)
                self._record(tx, Event.QUESTION_SUCCESS, username, row.id, now)
                if self.mode == "then_link":
                    self._enqueue_reminder(tx, username, still, now)
            else:
                self._record(tx, Event.QUESTION_REFUSED_CLOSED, username, row.id, now)
        if not is_open:
            raise QuestionClosed
        return True

    def _enqueue_reminder(self, tx: Connection, username: Username, row: Any, now: datetime) -> None:
        key = self._lockout.key_of(username)
        is_first = self._ephemeral.claim(_REMINDER, key, policy.REMINDER_INTERVAL, now=now, tx=tx)
        purpose = None if row is None else _PURPOSES.get(State(row.state))
        # Without a recipient the message is dropped by the worker: the same rows here, whoever it is (L-9).
        self._outbox.enqueue(
            tx,
            Template.REMINDER,
            recipient=row.email if is_first and row is not None and purpose is not None else None,
            locale=LOCALES[0] if row is None else row.locale,
            parameters={
                "account_id": "" if row is None else row.id,
                "epoch": 0 if row is None else row.epoch,
                "username": username.masked,
                "purpose": purpose or RECOVER,
                "name": "" if row is None else row.name,
            },
            now=now,
        )
        self._record(tx, Event.REMINDER_REQUEST, username, None if row is None else row.id, now)

    def _record(self, tx: Connection, event: Event, username: Username, account_id: str | None, now: datetime) -> None:
        # A name that nobody has may be something typed in the wrong field: its key is enough.
        detail = {"username_key": self._lockout.key_of(username)} if account_id is None else None
        audit.record(tx, event, now=now, account_id=account_id, detail=detail)


__all__ = ["Recovery"]
