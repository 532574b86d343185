"""Decide an authorization request: sign in, consent, issue a code, or refuse.

A request that has to wait for a person is kept as an *interaction*, found by a random handle and bound to the browser
that began it (security.md W-6). It is spent by the code or the refusal that ends it.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from idp import audit, policy
from idp.db import Store
from idp.ephemeral import Ephemeral, Found
from idp.keys import KeyRing
from idp.protocol.clients import Client, Clients
from idp.protocol.errors import AccessDenied, ConsentRequired, InteractionGone, LoginRequired, OAuth2Error
from idp.protocol.grants import CODE, code_key
from idp.protocol.messages import ProtocolResponse, parse_pairs, with_parameters
from idp.protocol.models import Consent
from idp.protocol.requests import AuthorizationRequest, read_request
from idp.protocol.subjects import (
    Authentication,
    Subject,
    SubjectSource,
    claims_for,
    has_mailbox_scope,
    is_mailbox_scope,
)
from idp.protocol.tokens import Tokens, read_id_token_hint

_INTERACTION = "interaction"
_C = Consent
_FIND_CONSENT = select(_C.scopes).where(
    _C.account_id == bindparam("account_id"), _C.client_id == bindparam("client_id")
)

_LOCK_CONSENT = _FIND_CONSENT.with_for_update()


@dataclass(frozen=True, slots=True)
class NeedsSignIn:
    """The person must sign in, or again; the interaction waits under this handle."""

    interaction: str
    ui_locales: str | None


@dataclass(frozen=True, slots=True)
class NeedsConsent:
    """The person must be asked; the interaction waits under this handle."""

    interaction: str


Decision = NeedsSignIn | NeedsConsent | ProtocolResponse


@dataclass(frozen=True, slots=True)
class Interaction:
    """A pending request, as a page may show it."""

    handle: str
    client_id: str
    client_name: str
    redirect_uri: str
    login_hint: str | None
    reauthenticate: bool
    """The client asks that a person who is signed in proves it again."""
    needs_sign_in: bool
    """Whether the present authentication is not enough."""
    scopes: tuple[str, ...]
    new_scopes: tuple[str, ...]
    """Those of `scopes` that the person has not allowed before."""
    claims: dict[str, Any]
    """What the identity scopes would give, for the person signed in."""
    retention_days: int | None
    """The window that a mailbox scope would open."""


class Authorizations:
    """The authorization endpoint."""

    def __init__(
        self,
        store: Store,
        ephemeral: Ephemeral,
        keys: KeyRing,
        clients: Clients,
        tokens: Tokens,
        subjects: SubjectSource,
    ) -> None:
        self._store = store
        self._ephemeral = ephemeral
        self._keys = keys
        self._clients = clients
        self._tokens = tokens
        self._subjects = subjects

    def begin(
        self, query: str, *, authentication: Authentication | None, browser: Callable[[], str], now: datetime
    ) -> Decision:
        """Answer a new request (OIDC Core section 3.1.2).

        Raises an `OAuth2Error` without `redirect_uri` where client or address are not verified: a page (P-2).
        `browser` names the browser, and is asked for only when the request has to wait.
        """
        try:
            request, client = read_request(parse_pairs(query), self._clients)
        except OAuth2Error as error:
            if error.redirect_uri is None:
                raise
            return self._refuse(error, error.redirect_uri, error.state)
        pending = _Pending(request, client, started_at=now, handle=None)
        return self._proceed(pending, authentication, browser, now)

    def resume(
        self, handle: str, *, authentication: Authentication | None, browser: str | None, now: datetime
    ) -> Decision:
        """Go on with a pending request, after a sign-in. `InteractionGone` if this browser has none such."""
        pending = self._find(handle, browser, now)
        return self._proceed(pending, authentication, lambda: str(browser), now)

    def decide(
        self,
        handle: str,
        *,
        allow: bool,
        authentication: Authentication | None,
        browser: str | None,
        now: datetime,
    ) -> Decision:
        """Take the person's answer on the consent page."""
        pending = self._find(handle, browser, now)
        subject = self._signed_in(pending, authentication, now)
        if subject is None or authentication is None:
            return NeedsSignIn(handle, pending.request.ui_locales)
        request = pending.request
        if not allow or not _scopes_for(subject, request.scopes):
            with self._store.write() as tx:
                self._finish(tx, pending, now)
                self._record(tx, audit.Event.CONSENT_DENY, pending, subject, now)
            return self._refuse(AccessDenied("The person did not allow it."), request.redirect_uri, request.state)
        return self._issue(pending, authentication, subject, consented=True, now=now)

    def describe(
        self, handle: str, *, authentication: Authentication | None, browser: str | None, now: datetime
    ) -> Interaction | None:
        """What a page may show of a pending request; None where this browser has none such."""
        try:
            pending = self._find(handle, browser, now)
        except InteractionGone:
            return None
        request, client = pending.request, pending.client
        subject = self._signed_in(pending, authentication, now)
        scopes = request.scopes if subject is None else _scopes_for(subject, request.scopes)
        consented = () if subject is None else self._consented(subject, client)
        days = None
        if subject is not None and has_mailbox_scope(scopes):
            days = min(filter(None, (subject.retention_days, client.retention_days)))
        return Interaction(
            handle=handle,
            client_id=client.client_id,
            client_name=client.client_name,
            redirect_uri=request.redirect_uri,
            login_hint=request.login_hint,
            reauthenticate=pending.asks_again,
            needs_sign_in=subject is None,
            scopes=scopes,
            new_scopes=tuple(scope for scope in scopes if scope not in consented),
            claims={} if subject is None else claims_for(scopes, subject),
            retention_days=days,
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _proceed(
        self,
        pending: "_Pending",
        authentication: Authentication | None,
        browser: Callable[[], str],
        now: datetime,
    ) -> Decision:
        request = pending.request
        silent = request.asks_for("none")
        subject = self._signed_in(pending, authentication, now)
        if subject is None or authentication is None:
            if silent:
                refused: OAuth2Error = LoginRequired("The person has to sign in.")
                return self._refuse(refused, request.redirect_uri, request.state)
            return NeedsSignIn(self._keep(pending, browser, now), request.ui_locales)
        if not _scopes_for(subject, request.scopes):
            with self._store.write() as tx:
                self._finish(tx, pending, now)
            refused = AccessDenied("No scope that this person may give.")
            return self._refuse(refused, request.redirect_uri, request.state)
        if self._must_ask(pending, subject):
            if silent:
                refused = ConsentRequired("The person has to consent.")
                return self._refuse(refused, request.redirect_uri, request.state)
            return NeedsConsent(self._keep(pending, browser, now))
        return self._issue(pending, authentication, subject, consented=False, now=now)

    def _signed_in(self, pending: "_Pending", authentication: Authentication | None, now: datetime) -> Subject | None:
        """The person, if who is signed in satisfies the request (OIDC Core section 3.1.2.1); None to sign in."""
        if authentication is None:
            return None
        request = pending.request
        fresh = authentication.auth_time >= pending.started_at
        if not fresh:
            if request.asks_for("login") or request.asks_for("select_account"):
                return None
            if request.max_age is not None and (now - authentication.auth_time).total_seconds() >= request.max_age:
                return None
        if request.id_token_hint is not None and not self._is_hinted(request, authentication.sub, now):
            return None
        subject = self._subjects.find_subject(authentication.sub)
        # PW-6: a password that has run out since the sign-in carries no new code.
        return subject if subject is not None and subject.credentials_expire_at > now else None

    def _is_hinted(self, request: AuthorizationRequest, sub: str, now: datetime) -> bool:
        claims = read_id_token_hint(request.id_token_hint or "", self._keys, self._tokens.issuer, now)
        return claims is not None and claims.get("sub") == sub

    def _must_ask(self, pending: "_Pending", subject: Subject) -> bool:
        client, request = pending.client, pending.request
        if request.asks_for("consent"):
            return True
        if client.first_party:
            return False
        scopes = _scopes_for(subject, request.scopes)
        return not client.remembers_consent or not set(self._consented(subject, client)).issuperset(scopes)

    def _consented(self, subject: Subject, client: Client) -> tuple[str, ...]:
        if not client.remembers_consent:
            return ()
        with self._store.read() as connection:
            found = connection.execute(
                _FIND_CONSENT, {"account_id": subject.sub, "client_id": client.client_id}
            ).scalar()
        return tuple(found or ())

    def _issue(
        self,
        pending: "_Pending",
        authentication: Authentication,
        subject: Subject,
        *,
        consented: bool,
        now: datetime,
    ) -> ProtocolResponse:
        request, client = pending.request, pending.client
        code = secrets.token_urlsafe(32)
        scopes = _scopes_for(subject, request.scopes)
        with self._store.write() as tx:
            self._finish(tx, pending, now)
            if consented:
                self._remember_consent(tx, subject, client, scopes, now)
                self._record(tx, audit.Event.CONSENT_GRANT, pending, subject, now)
            grant = self._tokens.add_grant(
                tx,
                client_id=client.client_id,
                authentication=authentication,
                scopes=scopes,
                resource=request.resource,
                now=now,
            )
            value = {
                "grant": grant,
                "redirect_uri": request.redirect_uri,
                "code_challenge": request.code_challenge,
                "nonce": request.nonce,
            }
            self._ephemeral.put(
                CODE,
                code_key(client.client_id, code),
                value,
                policy.AUTHORIZATION_CODE_LIFETIME,
                remember=policy.SPENT_MEMORY,
                now=now,
                tx=tx,
            )
            self._record(tx, audit.Event.CODE_ISSUE, pending, subject, now)
        return self._redirect(request.redirect_uri, {"code": code, "state": request.state})

    def _remember_consent(
        self, tx: Connection, subject: Subject, client: Client, scopes: Iterable[str], now: datetime
    ) -> None:
        key = {"account_id": subject.sub, "client_id": client.client_id}
        # First the row, then the union under its lock: two consents at once lose nothing.
        first = self._store.insert(_C).values(**key, scopes=[], granted_at=now).on_conflict_do_nothing()
        tx.execute(first)
        known = tx.execute(_LOCK_CONSENT, key).scalar_one()
        tx.execute(
            update(_C)
            .where(_C.account_id == subject.sub, _C.client_id == client.client_id)
            .values(scopes=list(dict.fromkeys((*known, *scopes))), granted_at=now)
        )

    def _keep(self, pending: "_Pending", browser: Callable[[], str], now: datetime) -> str:
        """The handle under which the request waits."""
        if pending.handle is not None:
            return pending.handle
        handle = secrets.token_urlsafe(24)
        value = {
            "browser": browser(),
            "request": pending.request.to_json(),
            "started_at": pending.started_at.isoformat(),
        }
        self._ephemeral.put(_INTERACTION, handle, value, policy.INTERACTION_LIFETIME, now=now)
        return handle

    def _find(self, handle: str, browser: str | None, now: datetime) -> "_Pending":
        value = self._ephemeral.get(_INTERACTION, handle, now=now)
        if value is None or browser is None or value["browser"] != browser:
            raise InteractionGone
        request = AuthorizationRequest.from_json(value["request"])
        client = self._clients.find(request.client_id)
        if client is None or not client.has_redirect_uri(request.redirect_uri):
            raise InteractionGone
        return _Pending(request, client, started_at=datetime.fromisoformat(value["started_at"]), handle=handle)

    def _finish(self, tx: Connection, pending: "_Pending", now: datetime) -> None:
        """Spend the interaction: two tabs that answer at once get one code. `InteractionGone` for the second."""
        if pending.handle is None:
            return
        if self._ephemeral.take(_INTERACTION, pending.handle, now=now, tx=tx).found is not Found.TAKEN:
            raise InteractionGone

    def _refuse(self, error: OAuth2Error, redirect_uri: str, state: str | None) -> ProtocolResponse:
        return self._redirect(
            redirect_uri, {"error": error.error, "error_description": error.description, "state": state}
        )

    def _redirect(self, redirect_uri: str, parameters: dict[str, str | None]) -> ProtocolResponse:
        # RFC 9207 section 2: every answer, errors too, says who gives it (P-6).
        parameters["iss"] = self._tokens.issuer
        # 303: whoever follows it after a form must not post the form again (P-13).
        return ProtocolResponse(status=303, location=with_parameters(redirect_uri, parameters))

    def _record(self, tx: Connection, event: audit.Event, pending: "_Pending", subject: Subject, now: datetime) -> None:
        audit.record(
            tx,
            event,
            now=now,
            account_id=subject.sub,
            client_id=pending.client.client_id,
            detail={"scope": " ".join(_scopes_for(subject, pending.request.scopes))},
        )


def _scopes_for(subject: Subject, scopes: Iterable[str]) -> tuple[str, ...]:
    """Those of the scopes that this person may give: who has no mailbox is not asked for one (product.md section 2)."""
    return tuple(scope for scope in scopes if subject.mailbox_rfc is not None or not is_mailbox_scope(scope))


@dataclass(frozen=True, slots=True)
class _Pending:
    """A valid request on its way; `handle` once it waits."""

    request: AuthorizationRequest
    client: Client
    started_at: datetime
    handle: str | None

    @property
    def asks_again(self) -> bool:
        request = self.request
        return request.asks_for("login") or request.asks_for("select_account") or request.max_age is not None
