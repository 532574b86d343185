"""Whether who is signed in satisfies an authorization request (OIDC Core section 3.1.2.1)."""

from datetime import datetime

from idp.keys import KeyRing
from idp.protocol.interactions import Pending
from idp.protocol.requests import ACR_VALUES, AuthorizationRequest
from idp.protocol.subjects import Authentication, Subject, SubjectSource
from idp.protocol.tokens import Tokens, read_id_token_hint


class SignInDemands:
    """What `prompt`, `max_age`, `id_token_hint` and `claims` ask of the authentication."""

    def __init__(self, keys: KeyRing, tokens: Tokens, subjects: SubjectSource) -> None:
        self._keys = keys
        self._tokens = tokens
        self._subjects = subjects

    def find_person(self, pending: Pending, authentication: Authentication | None, now: datetime) -> Subject | None:
        """The person, if the present authentication is enough; None to sign in."""
        if authentication is None:
            return None
        request = pending.request
        if authentication.auth_time < pending.started_at:
            if any(map(request.asks_for, ("login", "select_account", "create"))):
                return None
            if request.max_age is not None and (now - authentication.auth_time).total_seconds() >= request.max_age:
                return None
        acr = request.claims_request.essential_acr
        if (acr and authentication.acr not in acr) or not self._is_asked_for(pending, authentication.sub, now):
            return None
        subject = self._subjects.find_subject(authentication.sub)
        # PW-6: a password that has run out since the sign-in carries no new code.
        return subject if subject is not None and subject.credentials_expire_at > now else None

    def is_out_of_reach(self, request: AuthorizationRequest) -> bool:
        """Whether an essential `acr` is asked for that no sign-in reaches (OIDC Core section 5.5.1.1)."""
        acr = request.claims_request.essential_acr
        return bool(acr) and set(acr).isdisjoint(ACR_VALUES)

    def is_wrong_person(self, pending: Pending, authentication: Authentication, now: datetime) -> bool:
        """Whether somebody signed in for this request who is not the one it names.

        OIDC Core section 3.1.2.1 on id_token_hint: if that person is not "logged in as a result of the request", it
        "MUST return an error, such as login_required"; section 5.5.1 on a `sub` that is asked for says the same.
        """
        is_fresh = authentication.auth_time >= pending.started_at
        return is_fresh and not self._is_asked_for(pending, authentication.sub, now)

    def _is_asked_for(self, pending: Pending, account_id: str, now: datetime) -> bool:
        """Whether this is the person that the request names, if it names one."""
        request = pending.request
        sub = self._tokens.sub_for(pending.client, account_id)
        if request.id_token_hint is not None:
            claims = read_id_token_hint(request.id_token_hint, self._keys, self._tokens.issuer, now)
            if claims is None or claims.get("sub") != sub:
                return False
        named = request.claims_request.sub
        return named is None or named == sub
