"""The userinfo endpoint: what a client may know of its person, for an access token (OIDC Core section 5.3)."""

from datetime import datetime

from idp_kit.errors import InvalidToken

from idp.protocol.clients import Clients
from idp.protocol.errors import InsufficientScope, InvalidBearer, InvalidRequest, OAuth2Error
from idp.protocol.messages import NO_STORE, ProtocolRequest, ProtocolResponse, error_response, once, parse_pairs
from idp.protocol.subjects import claims_for, requested_claims
from idp.protocol.tokens import ActiveToken, Tokens


def answer_userinfo(request: ProtocolRequest, tokens: Tokens, clients: Clients, now: datetime) -> ProtocolResponse:
    """For any access token of ours with scope `openid`, whatever its audience (T-1).

    JSON; or, where the client registered that, a JWT, signed, encrypted or both (section 5.3.2).
    """
    try:
        return _answer(_read_bearer(request, tokens, now), tokens, clients, now)
    except OAuth2Error as error:
        return error_response(error)


def _answer(active: ActiveToken, tokens: Tokens, clients: Clients, now: datetime) -> ProtocolResponse:
    scopes = str(active.claims["scope"]).split()
    if "openid" not in scopes:
        raise InsufficientScope("The access token has no scope openid.")
    grant, subject = active.grant, active.subject
    client = None if grant is None else clients.find(grant.client_id)
    if grant is None or subject is None or client is None:
        # D-72: a client that acts for itself is no person.
        raise InvalidBearer("The access token is not active.")
    # Section 5.3.2: "The sub Claim in the UserInfo Response MUST be verified to exactly match the sub Claim in the ID
    # Token"; both are what this client knows the person by.
    claims = {"sub": active.claims["sub"], **claims_for(scopes, subject)}
    requested = (grant.claims or {}).get("userinfo")
    if requested:
        claims.update(requested_claims(requested, client.scopes, subject))
    if "mailbox" in active.claims:
        claims["mailbox"] = active.claims["mailbox"]
    sealed = tokens.sealing.seal_userinfo(claims, client, tokens.issuer, now)
    if sealed is not None:
        return ProtocolResponse(200, headers=dict(NO_STORE), jwt=sealed)
    return ProtocolResponse(200, claims, dict(NO_STORE))


def _read_bearer(request: ProtocolRequest, tokens: Tokens, now: datetime) -> ActiveToken:
    """The one access token of the request: in the header, or in a form body (RFC 6750 section 2)."""
    if "access_token" in dict(parse_pairs(request.query)):
        # RFC 9700 section 4.3.2: it would stand in logs and histories.
        raise InvalidRequest("The access token must not be sent in the query.")
    in_form = None if request.form is None else once(parse_pairs(request.form)).get("access_token")
    scheme, _, token = (request.authorization or "").partition(" ")
    if request.authorization is not None and (in_form is not None or scheme.lower() != "bearer"):
        raise InvalidRequest("One access token, by one method.")
    token = in_form or token.strip()
    if not token:
        raise InvalidBearer("An access token is required.")
    try:
        return tokens.read_access_token(token, now=now)
    except InvalidToken as error:
        raise InvalidBearer("The access token is not active.") from error
