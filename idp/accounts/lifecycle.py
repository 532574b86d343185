"""The door `Lifecycle`: create, invite, activate, disable accounts."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from idp import audit
from idp.accounts.credentials import Person
from idp.accounts.devices import Devices
from idp.accounts.errors import AccountProblem, PermitGone
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, Kind, Organization, Role, State
from idp.accounts.passwords import Hasher, check_new_password
from idp.accounts.permits import Permit
from idp.accounts.profiles import LOCALES, check_claims, check_email, check_locale, check_name
from idp.accounts.questions import QUESTIONS, check_answer
from idp.accounts.sessions import Sessions
from idp.accounts.usernames import GENERIC_RFCS, Username, parse_username
from idp.audit import Event
from idp.db import Store
from idp.outbox import Outbox, Template

_FIND_INVITED = select(Account.id).where(
    Account.id == bindparam("account_id"), Account.epoch == bindparam("epoch"), Account.state == State.INVITED
)

OnDisable = Callable[[Connection, str, datetime], None]


def _disable_nothing_more(tx: Connection, account_id: str, now: datetime) -> None:
    """Where accounts stand alone, nothing else hangs on one."""


class Lifecycle:
    """What operators do to an account, and how an invited person takes it over.

    Whatever an operator asks for and cannot be done is an `AccountProblem` that says why. `on_disable` joins the
    transaction that disables, so that what else an account has ends with it.
    """

    def __init__(
        self,
        store: Store,
        hasher: Hasher,
        lockout: Lockout,
        question_lockout: Lockout,
        sessions: Sessions,
        devices: Devices,
        outbox: Outbox,
        *,
        brand_words: Sequence[str] = (),
        on_disable: OnDisable = _disable_nothing_more,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._lockout = lockout
        self._question_lockout = question_lockout
        self._sessions = sessions
        self._devices = devices
        self._outbox = outbox
        self._brand_words = brand_words
        self._on_disable = on_disable

    def create(
        self,
        username: str,
        *,
        email: str,
        now: datetime,
        name: str | None = None,
        organization_rfc: str | None = None,
        role: str | None = None,
        claims: Mapping[str, Any] | None = None,
        locale: str = LOCALES[0],
        password: str | None = None,
        question: str | None = None,
        answer: str | None = None,
        password_changed_at: datetime | None = None,
    ) -> Person:
        """A new account: active with a password, else invited by a mail in the same transaction.

        A client account founds its RFC's organisation, an employee's must exist, free and staff accounts have none.
        `password_changed_at` is for a password that was chosen earlier, elsewhere; it ends that much sooner. Refuses
        besides with `MalformedUsername`, `PasswordRefused` and `AnswerRefused`; then nothing has changed.
        """
        parsed = parse_username(username)
        if parsed.rfc in GENERIC_RFCS:
            raise AccountProblem("a generic RFC owns no account")
        role = _check_role(parsed, role)
        rfc = _check_organization(parsed, organization_rfc)
        given = check_claims(claims or {})
        if password_changed_at is not None and (password is None or password_changed_at > now):
            raise AccountProblem("when a password was changed is in the past, and said of a password")
        secrets = self._hash_secrets(parsed, password, question, answer)
        row = {
            "id": str(uuid.uuid4()),
            "username": parsed.canonical,
            "kind": parsed.kind.value,
            "role": role,
            "rfc": parsed.rfc,
            "name": check_name(name) or parsed.canonical,
            "email": check_email(email),
            "email_verified": given.pop("email_verified", False),
            "locale": check_locale(locale),
            "state": (State.INVITED if password is None else State.ACTIVE).value,
            "claims": given,
            "password_changed_at": None if password is None else password_changed_at or now,
            "epoch": 1,
            "created_at": now,
            "updated_at": now,
            **secrets,
        }
        try:
            with self._store.write() as tx:
                row["organization_id"] = self._use_organization(tx, parsed, rfc, now)
                tx.execute(insert(Account), row)
                detail = {"kind": row["kind"], "state": row["state"]}
                audit.record(tx, Event.ACCOUNT_CREATE, now=now, account_id=row["id"], detail=detail)
                if password is None:
                    self._send_invitation(tx, row, parsed, now)
        except IntegrityError as error:
            # The driver's text has the row in it; the constraint that can fail is the one on the username.
            raise AccountProblem(f"{parsed.canonical} exists already") from error
        return Person(row["id"], parsed.canonical, parsed.kind, row["name"], row["locale"])

    def invite(self, username: str, now: datetime) -> None:
        """Send an invited person the mail again. Earlier ones live on until their time is over or one was used."""
        parsed = parse_username(username)
        with self._store.write() as tx:
            row = self._get(tx, parsed)
            if row.state != State.INVITED:
                raise AccountProblem(f"only an invited account is invited again; this one is {row.state}")
            self._send_invitation(tx, row._asdict(), parsed, now)

    def prepare_activation(self, permit: Permit, new_password: str, now: datetime) -> str:
        """What `activate` needs of the chosen password, to be kept in the browser's session until then; no password.

        Refuses with `PermitGone`, `PasswordRefused`, `HashingOverloaded`. Nothing has changed afterwards.
        """
        if permit.is_over(now):
            raise PermitGone
        check_new_password(new_password, username=parse_username(permit.username), brand_words=self._brand_words)
        with self._store.read() as connection:
            if connection.execute(_FIND_INVITED, _names(permit)).first() is None:
                raise PermitGone
        return f"{permit.account_id} {self._hasher.hash(new_password)}"

    def activate(self, permit: Permit, prepared: str, *, question: str, answer: str, now: datetime) -> Person:
        """The account is its person's, with the prepared password, secret question and answer (M14).

        Of any number of invitations in any number of hands one does this, and all are dead afterwards. Whoever opened
        the link reads the mailbox, so the address is verified, and a lock that strangers caused is lifted. Refuses
        with `PermitGone`, `AnswerRefused`, `HashingOverloaded`.
        """
        account_id, _, hashed = prepared.partition(" ")
        if permit.is_over(now) or account_id != permit.account_id:
            raise PermitGone
        username = parse_username(permit.username)
        answer_hash = self._hasher.hash(check_answer(answer, question, username))
        key = self._lockout.key_of(username)
        was_locked = self._lockout.is_locked(key, now)
        still = update(Account).where(
            Account.id == account_id, Account.epoch == permit.epoch, Account.state == State.INVITED
        )
        with self._store.write() as tx:
            row = tx.execute(
                still.values(
                    state=State.ACTIVE.value,
                    password_hash=hashed,
                    password_changed_at=now,
                    question=question,
                    answer_hash=answer_hash,
                    email_verified=True,
                    epoch=Account.epoch + 1,
                    updated_at=now,
                ).returning(Account.name, Account.locale)
            ).first()
            if row is None:
                raise PermitGone
            self._lockout.clear(tx, key)
            self._question_lockout.clear(tx, self._question_lockout.key_of(username))
            audit.record(tx, Event.ACCOUNT_ACTIVATE, now=now, account_id=account_id)
            if was_locked:
                detail = {"means": permit.means.value}
                audit.record(tx, Event.ACCOUNT_UNLOCK, now=now, account_id=account_id, detail=detail)
        return Person(account_id, username.canonical, username.kind, row.name, row.locale)

    def disable(self, username: str, now: datetime) -> None:
        """Nothing opens for this account from the next request on (L-5).

        Its sessions, open links and "set password" pages end in the same transaction.
        """
        parsed = parse_username(username)
        with self._store.write() as tx:
            account_id = self._get(tx, parsed).id
            if self._change_state(tx, account_id, State.DISABLED, now):
                self._sessions.end_all(tx, account_id)
                self._on_disable(tx, account_id, now)
                audit.record(tx, Event.ACCOUNT_DISABLE, now=now, account_id=account_id)

    def enable(self, username: str, now: datetime) -> None:
        """Undo `disable`: active again, or invited where no password was ever set. Ended sessions stay ended."""
        parsed = parse_username(username)
        with self._store.write() as tx:
            row = self._get(tx, parsed)
            if row.state == State.DISABLED:
                self._change_state(tx, row.id, State.ACTIVE if row.password_hash else State.INVITED, now)
                audit.record(tx, Event.ACCOUNT_ENABLE, now=now, account_id=row.id)

    def unlock(self, username: str, now: datetime) -> bool:
        """Forget failed attempts and lock (L-8), those of known browsers too; whether the name or one was locked."""
        parsed = parse_username(username)
        with self._store.read() as connection:
            known = self._devices.of(connection, self._get(connection, parsed).id, now)
        keys = [self._lockout.key_of(parsed, each) for each in (None, *known)]
        was_locked = any(self._lockout.is_locked(key, now) for key in keys)
        with self._store.write() as tx:
            account_id = self._get(tx, parsed).id
            for key in keys:
                self._lockout.clear(tx, key)
            detail = {"was_locked": was_locked}
            audit.record(tx, Event.ACCOUNT_UNLOCK, now=now, account_id=account_id, detail=detail)
        return was_locked

    # -- inside ------------------------------------------------------------------------------------------------------

    def _get(self, tx: Connection, username: Username) -> Any:
        wanted = select(
            Account.id,
            Account.state,
            Account.password_hash,
            Account.email,
            Account.name,
            Account.locale,
            Account.epoch,
        ).where(Account.username == username.canonical)
        row = tx.execute(wanted.with_for_update()).first()
        if row is None:
            raise AccountProblem("no account has this username")
        return row

    def _change_state(self, tx: Connection, account_id: str, state: State, now: datetime) -> bool:
        other = update(Account).where(Account.id == account_id, Account.state != state)
        # what was handed out before is dead.
        changed = other.values(state=state.value, epoch=Account.epoch + 1, updated_at=now)
        return tx.execute(changed).rowcount == 1

    def _send_invitation(self, tx: Connection, row: Mapping[str, Any], username: Username, now: datetime) -> None:
        parameters = {
            "account_id": row["id"],
            "epoch": row["epoch"],
            "username": username.masked,
            "purpose": "invite",
            "name": row["name"],
        }
        self._outbox.enqueue(
            tx,
            Template.INVITATION,
            recipient=row["email"],
            locale=row["locale"],
            parameters=parameters,
            now=now,
        )
        audit.record(tx, Event.ACCOUNT_INVITE, now=now, account_id=row["id"])

    def _use_organization(self, tx: Connection, username: Username, rfc: str | None, now: datetime) -> str | None:
        if rfc is None:
            return None
        found = tx.execute(select(Organization.id).where(Organization.rfc == rfc)).scalar()
        if found is not None:
            return str(found)
        if username.kind is not Kind.CLIENT:
            raise AccountProblem(f"no client account has founded the organisation {rfc}")
        new = {"id": str(uuid.uuid4()), "rfc": rfc, "retention_days": None, "created_at": now}
        tx.execute(insert(Organization), new)
        return str(new["id"])

    def _hash_secrets(
        self, username: Username, password: str | None, question: str | None, answer: str | None
    ) -> dict[str, str | None]:
        if (question is None) != (answer is None):
            raise AccountProblem("a secret question and its answer come together")
        if question is not None and question not in QUESTIONS:
            raise AccountProblem(f"unknown question; the catalogue has {', '.join(QUESTIONS)}")
        normal = None if answer is None else check_answer(answer, question, username)
        if password is not None:
            check_new_password(password, username=username, brand_words=self._brand_words)
        return {
            "password_hash": None if password is None else self._hasher.hash(password),
            "question": question,
            "answer_hash": None if normal is None else self._hasher.hash(normal),
        }


def _check_role(username: Username, role: str | None) -> str | None:
    if username.kind is not Kind.STAFF:
        if role is not None:
            raise AccountProblem("only staff accounts have a role")
        return None
    if role not in set(Role):
        raise AccountProblem(f"a staff account needs a role: {', '.join(Role)}")
    return str(Role(role))


def _check_organization(username: Username, organization_rfc: str | None) -> str | None:
    """The RFC of the organisation that the account belongs to; whether it exists is the transaction's to see."""
    rfc = None if organization_rfc is None else parse_username(organization_rfc).canonical
    if username.kind is Kind.CLIENT:
        if rfc not in {None, username.rfc}:
            raise AccountProblem("a client account founds its own RFC's organisation")
        return username.rfc
    if username.kind is Kind.EMPLOYEE:
        if rfc is None:
            raise AccountProblem("an employee account needs the RFC of its organisation")
        return rfc
    if rfc is not None:
        raise AccountProblem("only client and employee accounts belong to an organisation")
    return None


def _names(permit: Permit) -> dict[str, Any]:
    return {"account_id": permit.account_id, "epoch": permit.epoch}
