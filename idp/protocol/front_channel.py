"""What a positive answer gives through the browser: a code, an ID token, an access token (OIDC Core section 3)."""

import secrets
from datetime import datetime

from sqlalchemy import Connection

from idp import audit, policy
from idp.ephemeral import Ephemeral
from idp.protocol.clients import Client
from idp.protocol.grants import CODE, code_key
from idp.protocol.notices import remember_client
from idp.protocol.requests import AuthorizationRequest
from idp.protocol.responses import has_front_channel_token
from idp.protocol.subjects import Authentication, Subject
from idp.protocol.tokens import Tokens

_GRANT_TYPE = "implicit"


class FrontChannel:
    """Issues; whether it may was decided before."""

    def __init__(self, ephemeral: Ephemeral, tokens: Tokens) -> None:
        self._ephemeral = ephemeral
        self._tokens = tokens

    def issue(
        self,
        tx: Connection,
        request: AuthorizationRequest,
        client: Client,
        authentication: Authentication,
        subject: Subject,
        *,
        now: datetime,
    ) -> dict[str, str | None]:
        """The parameters of the answer. Whatever is given comes of one grant, and is dead when that is (P-7)."""
        grant_id = self._tokens.add_grant(
            tx,
            client_id=client.client_id,
            authentication=authentication,
            scopes=request.scopes,
            resource=request.resource,
            claims=request.claims,
            now=now,
        )
        session_ends_at = authentication.auth_time + policy.SESSION_ABSOLUTE_LIFETIME
        remember_client(tx, authentication.sid, client.client_id, authentication.sub, session_ends_at)
        answer: dict[str, str | None] = {}
        code = None
        if request.gives("code"):
            code = answer["code"] = self._add_code(tx, request, client, grant_id, now)
            self._record(tx, audit.Event.CODE_ISSUE, client, subject, {"scope": " ".join(request.scopes)}, now)
        if has_front_channel_token(request.response_type):
            answer.update(self._mint(tx, request, client, subject, grant_id, code, now))
            detail = {"grant_type": _GRANT_TYPE, "grant": grant_id}
            self._record(tx, audit.Event.TOKEN_ISSUE, client, subject, detail, now)
        return answer

    def _add_code(
        self, tx: Connection, request: AuthorizationRequest, client: Client, grant_id: str, now: datetime
    ) -> str:
        code = secrets.token_urlsafe(32)
        value = {
            "grant": grant_id,
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
        return code

    def _mint(
        self,
        tx: Connection,
        request: AuthorizationRequest,
        client: Client,
        subject: Subject,
        grant_id: str,
        code: str | None,
        now: datetime,
    ) -> dict[str, str]:
        grant = self._tokens.find_grant(grant_id, tx)
        assert grant is not None  # noqa: S101  # written in this transaction
        given: dict[str, str] = {}
        if request.gives("token"):
            minted = self._tokens.mint_for_person(grant, client, subject, grant.scopes, now=now)
            given = {
                "access_token": minted.access_token,
                "token_type": "Bearer",
                "expires_in": str(minted.expires_in),
                "scope": " ".join(minted.scopes),
            }
        if request.gives("id_token"):
            # OIDC Core sections 3.2.2.10 and 3.3.2.11: at_hash and c_hash of what stands beside it.
            given["id_token"] = self._tokens.mint_id_token(
                grant,
                client,
                subject,
                nonce=request.nonce,
                now=now,
                access_token=given.get("access_token"),
                code=code,
            )
        return given

    def _record(
        self,
        tx: Connection,
        event: audit.Event,
        client: Client,
        subject: Subject,
        detail: dict[str, str],
        now: datetime,
    ) -> None:
        audit.record(tx, event, now=now, account_id=subject.sub, client_id=client.client_id, detail=detail)
