"""The door `Directory`: what support and operators may look up and do."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select

from idp.accounts.lockout import Lockout
from idp.accounts.models import Account, Kind, Organization, State
from idp.accounts.usernames import Username, parse_username
from idp.db import Store
from idp.prepared import Prepared

LIST_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as support sees it: never a hash, never an answer."""

    account_id: str
    username: str
    kind: Kind
    state: State
    locked: bool
    role: str | None
    name: str
    email: str
    email_verified: bool
    locale: str
    organization_rfc: str | None
    question: str | None
    password_changed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """What tokens may be made of: one active account and its organisation."""

    sub: str
    username: str
    kind: Kind
    rfc: str | None
    organization_rfc: str | None
    organization_retention_days: int | None
    name: str
    email: str
    email_verified: bool
    locale: str
    claims: dict[str, Any]
    password_changed_at: datetime
    updated_at: datetime


_VIEW = select(
    Account.id,
    Account.username,
    Account.kind,
    Account.state,
    Account.role,
    Account.name,
    Account.email,
    Account.email_verified,
    Account.locale,
    Organization.rfc,
    Account.question,
    Account.password_changed_at,
    Account.created_at,
    Account.updated_at,
).select_from(Account.__table__.outerjoin(Organization.__table__))
# Prepared once and answered by one query: the token endpoint asks it.
_SUBJECT = Prepared(
    select(
        Account.id,
        Account.username,
        Account.kind,
        Account.rfc,
        Organization.rfc.label("organization_rfc"),
        Organization.retention_days,
        Account.name,
        Account.email,
        Account.email_verified,
        Account.locale,
        Account.claims,
        Account.password_changed_at,
        Account.updated_at,
    )
    .select_from(Account.__table__.outerjoin(Organization.__table__))
    .where(
        Account.id == bindparam("account_id"),
        Account.state == State.ACTIVE,
        Account.password_changed_at.is_not(None),
    )
)
_RETENTION = Prepared(select(Organization.retention_days).where(Organization.rfc == bindparam("rfc")))

_ORGANIZATION = select(Organization.id).where(Organization.rfc == bindparam("rfc"))


class Directory:
    """Looks accounts up. Nothing changes here."""

    def __init__(self, store: Store, lockout: Lockout) -> None:
        self._store = store
        self._lockout = lockout

    def find(self, username: str, now: datetime) -> AccountView | None:
        """The account with this username, or None. `MalformedUsername` where nobody can have it."""
        wanted = _VIEW.where(Account.username == parse_username(username).canonical)
        return next(iter(self._look(wanted, now)), None)

    def list(
        self, now: datetime, *, state: State | None = None, after: str | None = None, limit: int = LIST_LENGTH_MAX
    ) -> "tuple[AccountView, ...]":
        """Accounts in the order of their usernames, `limit` of them at most, from behind the username `after` on."""
        wanted = _VIEW.order_by(Account.username).limit(min(limit, LIST_LENGTH_MAX))
        if state is not None:
            wanted = wanted.where(Account.state == state)
        if after is not None:
            wanted = wanted.where(Account.username > after)
        return self._look(wanted, now)

    def find_subject_row(self, account_id: str) -> SubjectRow | None:
        """The active account whose `sub` this is, or None: unknown, disabled, not activated (L-5)."""
        row = self._store.first(_SUBJECT, {"account_id": account_id})
        if row is None:
            return None
        return SubjectRow(
            sub=row.id,
            username=row.username,
            kind=Kind(row.kind),
            rfc=row.rfc,
            organization_rfc=row.organization_rfc,
            organization_retention_days=row.retention_days,
            name=row.name,
            email=row.email,
            email_verified=row.email_verified,
            locale=row.locale,
            claims=dict(row.claims or {}),
            password_changed_at=row.password_changed_at,
            updated_at=row.updated_at,
        )

    def find_organization_retention(self, rfc: str) -> int | None:
        """The days that the contract of this RFC's organisation sets, or None: it sets none, or there is none."""
        row = self._store.first(_RETENTION, {"rfc": rfc})
        return None if row is None else row.retention_days

    def has_organization(self, rfc: str) -> bool:
        """Whether a client account has founded an organisation with this RFC."""
        with self._store.read() as connection:
            return connection.execute(_ORGANIZATION, {"rfc": rfc}).first() is not None

    def _look(self, wanted: Select[*tuple[Any, ...]], now: datetime) -> "tuple[AccountView, ...]":
        with self._store.read() as connection:
            rows = connection.execute(wanted).all()
        names: dict[str, Username] = {row.username: parse_username(row.username) for row in rows}
        locked = {each.canonical for each in self._lockout.find_locked(names.values(), now)}
        return tuple(
            AccountView(
                account_id=row.id,
                username=row.username,
                kind=Kind(row.kind),
                state=State(row.state),
                locked=row.username in locked,
                role=row.role,
                name=row.name,
                email=row.email,
                email_verified=row.email_verified,
                locale=row.locale,
                organization_rfc=row.rfc,
                question=row.question,
                password_changed_at=row.password_changed_at,
                created_at=row.created_at,
                updated_at=row.updated_at,
            )
            for row in rows
        )
