"""The door `Lifecycle`: create, activate, change, disable accounts."""

import unicodedata
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from idp import audit, policy
from idp.accounts.credentials import Person
from idp.accounts.errors import AccountProblem
from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, Kind, Organization, Role, State
from idp.accounts.passwords import Hasher, check_new_password, normalise_answer
from idp.accounts.sessions import Sessions
from idp.accounts.usernames import GENERIC_RFCS, Username, parse_username
from idp.audit import Event
from idp.db import Store

QUESTIONS = ("teacher", "street", "concert", "dish", "toy")
"""Keys of the catalogue of secret questions (Q-1); their words are the web layer's."""

LOCALES = ("es-MX", "en")

STANDARD_CLAIMS: Mapping[str, type] = {
    "given_name": str,
    "family_name": str,
    "middle_name": str,
    "nickname": str,
    "preferred_username": str,
    "profile": str,
    "picture": str,
    "website": str,
    "gender": str,
    "birthdate": str,
    "zoneinfo": str,
    "phone_number": str,
    "phone_number_verified": bool,
    "address": dict,
    "email_verified": bool,
}
"""The claims of OIDC Core section 5.1 that an operator may give; `name`, `email` and `locale` have their own place."""

_ADDRESS_MEMBERS = frozenset({"formatted", "street_address", "locality", "region", "postal_code", "country"})
_NAME_LENGTH_MAX = 200
_EMAIL_LENGTH_MAX = 254
_CLAIM_LENGTH_MAX = 2000

OnDisable = Callable[[Connection, str, datetime], None]


def _disable_nothing_more(tx: Connection, account_id: str, now: datetime) -> None:
    """Where accounts stand alone, nothing else hangs on one."""


class Lifecycle:
    """What operators do to an account. Whatever cannot be done is an `AccountProblem` that says why.

    `on_disable` joins the transaction that disables, so that what else an account has ends with it.
    """

    def __init__(
        self,
        store: Store,
        hasher: Hasher,
        lockout: Lockout,
        sessions: Sessions,
        *,
        brand_words: Sequence[str] = (),
        on_disable: OnDisable = _disable_nothing_more,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._lockout = lockout
        self._sessions = sessions
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
    ) -> Person:
        """A new account: active with a password, else invited.

        A client account founds its RFC's organisation, an employee's must exist, free and staff accounts have none.
        Refuses besides with `MalformedUsername` and `PasswordRefused`; then nothing has changed.
        """
        parsed = parse_username(username)
        if parsed.rfc in GENERIC_RFCS:
            raise AccountProblem("a generic RFC owns no account")
        role = _check_role(parsed, role)
        rfc = _check_organization(parsed, organization_rfc)
        given = _check_claims(claims or {})
        secrets = self._hash_secrets(parsed, password, question, answer)
        row = {
            "id": str(uuid.uuid4()),
            "username": parsed.canonical,
            "kind": parsed.kind.value,
            "role": role,
            "rfc": parsed.rfc,
            "name": _check_name(name) or parsed.canonical,
            "email": _check_email(email),
            "email_verified": given.pop("email_verified", False),
            "locale": _check_locale(locale),
            "state": (State.INVITED if password is None else State.ACTIVE).value,
            "claims": given,
            "password_changed_at": None if password is None else now,
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
        except IntegrityError as error:
            # The driver's text has the row in it; the constraint that can fail is the one on the username.
            raise AccountProblem(f"{parsed.canonical} exists already") from error
        return Person(row["id"], parsed.canonical, parsed.kind, row["name"], row["locale"])

    def disable(self, username: str, now: datetime) -> None:
        """Nothing opens for this account from the next request on (L-5); its sessions end in the same transaction."""
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
        """Forget failed attempts and lock (L-8); whether the name was locked."""
        parsed = parse_username(username)
        key = self._lockout.key_of(parsed)
        was_locked = self._lockout.is_locked(key, now)
        with self._store.write() as tx:
            account_id = self._get(tx, parsed).id
            self._lockout.clear(tx, key)
            detail = {"was_locked": was_locked}
            audit.record(tx, Event.ACCOUNT_UNLOCK, now=now, account_id=account_id, detail=detail)
        return was_locked

    # -- inside ------------------------------------------------------------------------------------------------------

    def _get(self, tx: Connection, username: Username) -> Any:
        wanted = select(Account.id, Account.state, Account.password_hash).where(Account.username == username.canonical)
        row = tx.execute(wanted.with_for_update()).first()
        if row is None:
            raise AccountProblem("no account has this username")
        return row

    def _change_state(self, tx: Connection, account_id: str, state: State, now: datetime) -> bool:
        other = update(Account).where(Account.id == account_id, Account.state != state)
        return tx.execute(other.values(state=state.value, updated_at=now)).rowcount == 1

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
        normal = None if answer is None else _check_answer(username, answer)
        if password is not None:
            check_new_password(password, username=username, brand_words=self._brand_words)
        return {
            "password_hash": None if password is None else self._hasher.hash(password),
            "question": question,
            "answer_hash": None if normal is None else self._hasher.hash(normal),
        }


def _check_answer(username: Username, answer: str) -> str:
    normal = normalise_answer(answer)
    if len(normal) < policy.SECRET_ANSWER_LENGTH_MIN:
        raise AccountProblem(f"the secret answer needs {policy.SECRET_ANSWER_LENGTH_MIN} characters at least")
    if len(normal) > policy.PASSWORD_LENGTH_MAX:
        raise AccountProblem(f"the secret answer has {policy.PASSWORD_LENGTH_MAX} characters at most")
    if normal in {normalise_answer(each) for each in (username.canonical, username.rfc or username.canonical)}:
        raise AccountProblem("the secret answer must not be the username or the RFC")
    return normal


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


def _check_name(name: str | None) -> str:
    text = " ".join((name or "").split(" "))
    text = unicodedata.normalize("NFC", text).strip()
    if len(text) > _NAME_LENGTH_MAX or _has_control(text):
        raise AccountProblem(f"a name is one line of {_NAME_LENGTH_MAX} characters at most")
    return text


def _check_email(email: str) -> str:
    local, _, domain = email.rpartition("@")
    # W-11: no line break or other control character ever reaches a mail header.
    is_odd = _has_control(email) or any(char.isspace() for char in email) or not local or "." not in f"{domain}."
    if is_odd or not domain or len(email) > _EMAIL_LENGTH_MAX or any(char in '<>()[],;:\\"' for char in email):
        raise AccountProblem("this is no mail address")
    return email


def _check_locale(locale: str) -> str:
    if locale not in LOCALES:
        raise AccountProblem(f"unknown language; there are {', '.join(LOCALES)}")
    return locale


def _check_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in claims.items():
        kind = STANDARD_CLAIMS.get(name)
        if kind is None:
            raise AccountProblem(f"claim {name!r} cannot be given")
        if not isinstance(value, kind) or (isinstance(value, str) and not 0 < len(value) <= _CLAIM_LENGTH_MAX):
            raise AccountProblem(f"claim {name!r} needs another kind of value")
    address = claims.get("address", {})
    if not _ADDRESS_MEMBERS.issuperset(address) or not all(isinstance(each, str) for each in address.values()):
        raise AccountProblem("claim 'address' has members that OIDC Core section 5.1.1 does not know")
    return dict(claims)


def _has_control(text: str) -> bool:
    return any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)
