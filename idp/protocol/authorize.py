"""Decide an authorization request: sign in, consent, answer, or refuse.

A request that has to wait for a person is kept as an *interaction*, bound to the browser that began it (security.md
W-6). It is spent by the answer that ends it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from idp import audit
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.keys import KeyRing
from idp.prepared import VIOLATIONS
from idp.protocol.client_keys import ClientKeys
from idp.protocol.clients import Client, Clients
from idp.protocol.consents import Consents
from idp.protocol.errors import (
    AccessDenied,
    ConsentRequired,
    InteractionGone,
    InvalidRequest,
    LoginRequired,
    OAuth2Error,
    UnmetAuthenticationRequirements,
)
from idp.protocol.front_channel import FrontChannel
from idp.protocol.interactions import Interactions, Pending
from idp.protocol.logout import session_state
from idp.protocol.messages import once, parse_pairs
from idp.protocol.par import PushedRequests, is_pushed
from idp.protocol.requests import find_client, read_request, unwrap
from idp.protocol.responses import Answer, FormPost, ReplyTo, respond
from idp.protocol.sign_in_demands import SignInDemands
from idp.protocol.subjects import (
    Authentication,
    Subject,
    SubjectSource,
    claims_for,
    has_mailbox_scope,
)
from idp.protocol.tokens import Tokens


@dataclass(frozen=True, slots=True)
class NeedsSignIn:
    """The person must sign in, or again; the interaction waits under this handle."""

    interaction: str
    ui_locales: str | None


@dataclass(frozen=True, slots=True)
class NeedsConsent:
    """The person must be asked; the interaction waits under this handle."""

    interaction: str


@dataclass(frozen=True, slots=True)
class Posted:
    """A request that came by POST, and without the cookies of this site; the browser brings it under this handle."""

    handle: str


Decision = NeedsSignIn | NeedsConsent | Answer


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
    claims: Mapping[str, Any]
    """What the identity scopes, and `extra_claims`, would give, for the person signed in."""
    retention_days: int | None
    """The window that a mailbox scope would open."""
    extra_claims: tuple[str, ...] = ()
    """Claims asked for by name that no scope of the request gives."""
    new_claims: tuple[str, ...] = ()
    """Those of `extra_claims` that the person has not allowed before."""
    logo_path: str | None = None
    client_uri: str | None = None
    policy_uri: str | None = None
    tos_uri: str | None = None
    """What the client says of itself; the logo is served by us (P-15)."""
    asks_for_account: bool = False
    """`prompt=create`: the client believes that the person has no account yet."""


class Authorizations:
    """The authorization endpoint."""

    def __init__(
        self,
        store: Store,
        ephemeral: Ephemeral,
        keys: KeyRing,
        clients: Clients,
        client_keys: ClientKeys,
        tokens: Tokens,
        subjects: SubjectSource,
        consents: Consents,
        pushed_requests: PushedRequests,
    ) -> None:
        self._store = store
        self._subjects = subjects
        self._clients = clients
        self._client_keys = client_keys
        self._tokens = tokens
        self._consents = consents
        self._pushed_requests = pushed_requests
        self._interactions = Interactions(ephemeral, clients, pushed_requests)
        self._demands = SignInDemands(keys, tokens, subjects)
        self._front_channel = FrontChannel(ephemeral, tokens)

    def begin(
        self,
        query: str,
        *,
        authentication: Authentication | None,
        browser: Callable[[], str],
        now: datetime,
        browser_state: str | None = None,
    ) -> Decision:
        """Answer a new request (OIDC Core section 3.1.2).

        Raises an `OAuth2Error` without `reply_to` where client or address are not verified: a page (P-2).
        `browser` names the browser, and is asked for only when the request has to wait.
        """
        return self._begin(once(parse_pairs(query)), authentication, browser, now, browser_state)

    def receive(self, query: str, form: bytes | None, now: datetime) -> Posted | Answer:
        """Take a request that came by POST (OIDC Core section 3.1.2.1); errors as of `begin`.

        What is not valid is answered at once. The rest waits for the browser to bring it by GET: a form of another
        site comes without our cookie (SameSite=Lax).
        """
        if query or form is None:
            raise InvalidRequest("The parameters of a POST go in its form body, none in the query.")
        parameters = once(parse_pairs(form))
        try:
            self._open(parameters, now)
        except OAuth2Error as error:
            return self._refuse_invalid(error)
        return Posted(self._interactions.keep_posted(parameters, now))

    def begin_posted(
        self,
        handle: str,
        *,
        authentication: Authentication | None,
        browser: Callable[[], str],
        now: datetime,
        browser_state: str | None = None,
    ) -> Decision:
        """Answer the request that `receive` took. `InteractionGone` where there is none such."""
        parameters = self._interactions.take_posted(handle, now)
        return self._begin(parameters, authentication, browser, now, browser_state)

    def resume(
        self,
        handle: str,
        *,
        authentication: Authentication | None,
        browser: str | None,
        now: datetime,
        browser_state: str | None = None,
    ) -> Decision:
        """Go on with a pending request, after a sign-in. `InteractionGone` if this browser has none such."""
        pending = self._interactions.find(handle, browser, now)
        return self._proceed(pending, authentication, lambda: str(browser), now, browser_state)

    def decide(
        self,
        handle: str,
        *,
        allow: bool,
        authentication: Authentication | None,
        browser: str | None,
        now: datetime,
        browser_state: str | None = None,
    ) -> Decision:
        """Take the person's answer on the consent page."""
        pending = self._interactions.find(handle, browser, now)
        subject = self._demands.find_person(pending, authentication, now)
        if subject is None or authentication is None:
            return NeedsSignIn(handle, pending.request.ui_locales)
        own = pending.for_person(subject)
        if allow and own.request.scopes:
            issued = self._issue(own, authentication, subject, consented=True, now=now, browser_state=browser_state)
            return NeedsSignIn(handle, pending.request.ui_locales) if issued is None else issued
        with self._store.write() as tx:
            self._interactions.finish(tx, own, now)
            self._record(tx, audit.Event.CONSENT_DENY, own, subject, now)
        return self._say(AccessDenied("The person did not allow it."), pending.request.reply_to)

    def describe(
        self, handle: str, *, authentication: Authentication | None, browser: str | None, now: datetime
    ) -> Interaction | None:
        """What a page may show of a pending request; None where this browser has none such."""
        try:
            pending = self._interactions.find(handle, browser, now)
        except InteractionGone:
            return None
        subject = self._demands.find_person(pending, authentication, now)
        request = pending.request if subject is None else pending.for_person(subject).request
        client = pending.client
        allowed = self._allowed(subject, client)
        extra = request.extra_claims
        days = None
        if subject is not None and has_mailbox_scope(request.scopes):
            days = min(filter(None, (subject.retention_days, client.retention_days)))
        claims = {} if subject is None else claims_for(request.scopes, subject)
        if subject is not None:
            claims |= {name: subject.claims[name] for name in extra if subject.claims.get(name) is not None}
        return Interaction(
            handle=handle,
            client_id=client.client_id,
            client_name=client.client_name,
            redirect_uri=request.redirect_uri,
            login_hint=request.login_hint,
            reauthenticate=pending.asks_again,
            needs_sign_in=subject is None,
            scopes=request.scopes,
            new_scopes=tuple(scope for scope in request.scopes if scope not in allowed.scopes),
            claims=claims,
            retention_days=days,
            extra_claims=extra,
            new_claims=tuple(name for name in extra if name not in allowed.claims),
            logo_path=client.logo_path,
            client_uri=client.details.client_uri,
            policy_uri=client.details.policy_uri,
            tos_uri=client.details.tos_uri,
            asks_for_account=request.asks_for("create"),
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _begin(
        self,
        parameters: Mapping[str, str],
        authentication: Authentication | None,
        browser: Callable[[], str],
        now: datetime,
        browser_state: str | None,
    ) -> Decision:
        try:
            pending = self._open(parameters, now)
        except OAuth2Error as error:
            return self._refuse_invalid(error)
        return self._proceed(pending, authentication, browser, now, browser_state)

    def _open(self, parameters: Mapping[str, str], now: datetime) -> Pending:
        client = find_client(parameters, self._clients)
        request_uri = parameters.get("request_uri")
        if request_uri is not None and is_pushed(request_uri):
            # What else stands in the query is not looked at (P-11).
            asked = self._pushed_requests.find(request_uri, client.client_id, now)
        else:
            asked = unwrap(parameters, client, self._client_keys, issuer=self._tokens.issuer, now=now)
        return Pending(read_request(asked, client), client, started_at=now, pushed=asked.pushed)

    def _proceed(
        self,
        pending: Pending,
        authentication: Authentication | None,
        browser: Callable[[], str],
        now: datetime,
        browser_state: str | None,
    ) -> Decision:
        request = pending.request
        silent = request.asks_for("none")
        if self._demands.is_out_of_reach(request):
            unmet = UnmetAuthenticationRequirements("The authentication context cannot be reached.")
            return self._refuse(pending, unmet, now)
        subject = self._demands.find_person(pending, authentication, now)
        if subject is None or authentication is None:
            if silent:
                return self._refuse(pending, LoginRequired("The person has to sign in."), now)
            if authentication is not None and self._demands.is_wrong_person(pending, authentication, now):
                return self._refuse(pending, LoginRequired("Another person has signed in."), now)
            return NeedsSignIn(self._interactions.keep(pending, browser, now), request.ui_locales)
        own = pending.for_person(subject)
        if not own.request.scopes:
            return self._refuse(pending, AccessDenied("No scope that this person may give."), now)
        if self._must_ask(own, subject):
            if silent:
                return self._refuse(pending, ConsentRequired("The person has to consent."), now)
            return NeedsConsent(self._interactions.keep(pending, browser, now))
        issued = self._issue(own, authentication, subject, consented=False, now=now, browser_state=browser_state)
        return self._proceed(pending, None, browser, now, None) if issued is None else issued

    def _must_ask(self, pending: Pending, subject: Subject) -> bool:
        client, request = pending.client, pending.request
        if request.asks_for("consent"):
            return True
        if client.first_party:
            return False
        if not client.remembers_consent:
            return True
        allowed = self._allowed(subject, client)
        return not (allowed.scopes.issuperset(request.scopes) and allowed.claims.issuperset(request.extra_claims))

    def _allowed(self, subject: Subject | None, client: Client) -> "_Allowed":
        if subject is None or not client.remembers_consent:
            return _Allowed()
        return _Allowed(*self._consents.find(subject.sub, client.client_id))

    def _issue(
        self,
        pending: Pending,
        authentication: Authentication,
        subject: Subject,
        *,
        consented: bool,
        now: datetime,
        browser_state: str | None,
    ) -> Answer | None:
        """The positive answer; None where sign-in or consent ended since they were looked at: nothing was given."""
        request, client, extra = pending.request, pending.client, pending.request.extra_claims

        def issue(tx: Connection) -> dict[str, str | None] | None:
            if not self._subjects.is_signed_in(authentication, tx):
                return None
            if not consented and not self._consents.hold(tx, subject.sub, client, request.scopes, extra):
                return None
            self._interactions.finish(tx, pending, now)
            if consented:
                self._consents.remember(tx, subject.sub, client, request.scopes, now, claims=extra)
            return self._front_channel.issue(tx, request, client, authentication, subject, now=now)

        try:
            if request.gives("id_token"):
                # Before the transaction opens: the key to encrypt for may have to be fetched.
                self._tokens.sealing.prepare(client, now)
            answer = self._store.apply(issue)
        except VIOLATIONS as error:  # the client was removed since it was looked at (`CLIENT_CACHE_LIFETIME`)
            raise InteractionGone from error
        except OAuth2Error as error:  # it has no key that serves the encryption it registered; nothing was issued
            return self._refuse(pending, error, now)
        if answer is None:
            return None
        if browser_state is not None and "openid" in request.scopes:
            answer["session_state"] = session_state(client.client_id, request.redirect_uri, browser_state)
        return respond(request.reply_to, answer, issuer=self._tokens.issuer)

    def _refuse(self, pending: Pending, error: OAuth2Error, now: datetime) -> Answer:
        """End a valid request with an error; what it came of is spent."""
        if pending.handle is not None or pending.pushed is not None:
            with self._store.write() as tx:
                self._interactions.finish(tx, pending, now)
        return self._say(error, pending.request.reply_to)

    def _refuse_invalid(self, error: OAuth2Error) -> Answer:
        if error.reply_to is None:
            raise error
        return self._say(error, error.reply_to)

    def _say(self, error: OAuth2Error, reply_to: ReplyTo) -> Answer:
        parameters = {"error": error.error, "error_description": error.description}
        return respond(reply_to, parameters, issuer=self._tokens.issuer)

    def _record(self, tx: Connection, event: audit.Event, pending: Pending, subject: Subject, now: datetime) -> None:
        audit.record(
            tx,
            event,
            now=now,
            account_id=subject.sub,
            client_id=pending.client.client_id,
            detail={"scope": " ".join(pending.request.scopes)},
        )


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What a person has allowed a client, ever."""

    scopes: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()


__all__ = ["Authorizations", "Decision", "FormPost", "Interaction", "NeedsConsent", "NeedsSignIn", "Posted"]
