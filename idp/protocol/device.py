"""The device grant (RFC 8628): a code on a screen without keyboard, entered and approved in a browser elsewhere."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network
from typing import Any

from sqlalchemy import Connection

from idp import audit, policy
from idp.ephemeral import Ephemeral, Found
from idp.prepared import VIOLATIONS
from idp.protocol.client_auth import authenticate_client
from idp.protocol.clients import Client
from idp.protocol.consents import Consents
from idp.protocol.errors import (
    AccessDenied,
    AuthorizationPending,
    DeviceCodeUnknown,
    ExpiredToken,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    OAuth2Error,
    SlowDown,
    TooManyCodes,
    UnauthorizedClient,
)
from idp.protocol.grants import SPENT, GrantServices, TokenGrant, require
from idp.protocol.messages import NO_STORE, ProtocolRequest, ProtocolResponse, read_form
from idp.protocol.notices import remember_client
from idp.protocol.profiles import DEVICE_CODE
from idp.protocol.requests import split_scope
from idp.protocol.subjects import Authentication, Subject, claims_for, has_mailbox_scope, scopes_for

_DEVICE, _USER, _OUTCOME, _PACE = "device-code", "user-code", "device-outcome", "device-pace"
_ENTERED = "device-entered"
_BROWSER_TRIES, _ADDRESS_TRIES = "device-tries", "device-address-tries"
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""RFC 8628 section 6.1: no vowels, so no words; nothing that reads as a digit."""
_USER_CODE = re.compile(f"[{_ALPHABET}]{{8}}")
_IGNORED = re.compile(r"[\s\-‐-―]")


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A device that waits, as the confirm page may show it."""

    user_code: str
    client_id: str
    client_name: str
    scopes: tuple[str, ...]
    resource: str | None
    requested_at: datetime
    address: str | None
    """Where the device asked from: not what the person expects, if somebody else's device asked (section 5.4)."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What approving would give, for the person signed in."""

    scopes: tuple[str, ...]
    """Those of the request that this person may give."""
    claims: Mapping[str, Any]
    retention_days: int | None


class DeviceAuthorizations:
    """The device authorization endpoint, and the browser's side of it."""

    def __init__(self, services: GrantServices, consents: Consents) -> None:
        self._services = services
        self._ephemeral = services.ephemeral
        self._consents = consents

    # -- the device --------------------------------------------------------------------------------------------------

    def begin(self, request: ProtocolRequest, now: datetime) -> ProtocolResponse:
        """Answer a device (section 3.2). Raises the errors of the token endpoint."""
        parameters = read_form(request)
        client = authenticate_client(request, parameters, self._services, now)
        if DEVICE_CODE not in client.grant_types:
            raise UnauthorizedClient("The client is not registered for this grant_type.")
        scopes = _read_scopes(parameters, client)
        resource = parameters.get("resource")
        if resource is not None and resource not in client.resources:
            raise InvalidTarget("The resource is not one of the client's.")
        device_code, request_id = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
        user_code = self._free_user_code(now)
        lifetime = policy.DEVICE_CODE_LIFETIME
        waiting = {
            "id": request_id,
            "client_id": client.client_id,
            "scopes": list(scopes),
            "resource": resource or (client.resources[0] if client.resources else None),
            "requested_at": now.isoformat(),
            "address": audit.origin.get().address,
        }
        held = {"id": request_id, "expires_at": (now + lifetime).isoformat()}
        with self._services.store.write() as tx:
            self._ephemeral.put(_USER, user_code, waiting, lifetime, now=now, tx=tx)
            # Kept longer than it is good for, to tell a code that has run out from one that never was (section 3.5).
            self._ephemeral.put(
                _DEVICE,
                _device_key(client.client_id, device_code),
                held,
                lifetime + policy.SPENT_MEMORY,
                remember=policy.SPENT_MEMORY,
                now=now,
                tx=tx,
            )
        shown, uri = show_user_code(user_code), f"{self._services.tokens.issuer}/device"
        body = {
            "device_code": device_code,
            "user_code": shown,
            "verification_uri": uri,
            "verification_uri_complete": f"{uri}?user_code={shown}",
            "expires_in": int(lifetime.total_seconds()),
            "interval": int(policy.DEVICE_POLL_INTERVAL.total_seconds()),
        }
        return ProtocolResponse(200, body, dict(NO_STORE))

    # -- the browser -------------------------------------------------------------------------------------------------

    def enter(self, typed: str, *, browser: str, address: str | None, now: datetime) -> DeviceRequest:
        """Find the request behind a code that a person typed, and keep it for this browser to decide.

        `DeviceCodeUnknown` for one that is wrong, has run out or was used: one answer. `TooManyCodes` after
        `DEVICE_TRIES_MAX` wrong ones of a browser, or `DEVICE_ADDRESS_TRIES_MAX` of an address (section 5.1).
        """
        counters = [(_BROWSER_TRIES, browser, policy.DEVICE_TRIES_MAX, policy.DEVICE_TRIES_WINDOW)]
        if address is not None:
            counters.append((_ADDRESS_TRIES, _network(address), policy.DEVICE_ADDRESS_TRIES_MAX, policy.ADDRESS_WINDOW))
        # Counted before it is looked up, and given back if it was right: guesses at once do not slip through.
        for kind, key, most, window in counters:
            if self._ephemeral.hit(kind, key, window, now=now) > most:
                hits = self._ephemeral.hits(kind, key, now=now)
                raise TooManyCodes(window if hits is None else hits.ends_at - now)
        found = self._find(typed, now)
        event = audit.Event.DEVICE_CODE_UNKNOWN if found is None else audit.Event.DEVICE_CODE_ENTER
        with self._services.store.write() as tx:
            audit.record(tx, event, now=now, client_id=None if found is None else found.client_id)
            if found is not None:
                for kind, key, _, window in counters:
                    self._ephemeral.hit(kind, key, window, now=now, step=-1, tx=tx)
                lifetime = policy.DEVICE_CODE_LIFETIME
                self._ephemeral.put(_ENTERED, browser, found.user_code, lifetime, now=now, tx=tx)
        if found is None:
            raise DeviceCodeUnknown
        return found

    def find_entered(self, browser: str, now: datetime) -> DeviceRequest | None:
        """The request whose code this browser has entered, as long as it waits, whoever has signed in meanwhile."""
        entered = self._ephemeral.get(_ENTERED, browser, now=now)
        return None if entered is None else self._find(entered, now)

    def describe(
        self, request: DeviceRequest, *, authentication: Authentication | None, now: datetime
    ) -> Approval | None:
        """What the person signed in would give; None where somebody has to sign in, or again (PW-6)."""
        subject, client = self._signed_in(authentication, now), self._services.clients.find(request.client_id)
        if subject is None or client is None:
            return None
        days, scopes = None, scopes_for(subject, request.scopes)
        if has_mailbox_scope(scopes):
            days = min(filter(None, (subject.retention_days, client.retention_days)))
        return Approval(scopes, claims_for(scopes, subject), days)

    def decide(
        self, user_code: str, *, allow: bool, browser: str, authentication: Authentication | None, now: datetime
    ) -> DeviceRequest:
        """Take the person's answer, once. `DeviceCodeUnknown` where the code is not the one that this browser entered
        last, or is no longer good: no code is tried here past the counters of `enter`.

        `AccessDenied` where nobody is signed in who may answer: nothing has changed.
        """
        request, code = self.find_entered(browser, now), read_user_code(user_code)
        client = None if request is None else self._services.clients.find(request.client_id)
        if request is None or code is None or client is None or request.user_code != show_user_code(code):
            raise DeviceCodeUnknown
        subject = self._signed_in(authentication, now)
        if subject is None or authentication is None:
            raise AccessDenied("Somebody has to sign in.")
        with self._services.store.write() as tx:
            if not self._services.subjects.is_signed_in(authentication, tx):
                raise AccessDenied("Somebody has to sign in.")  # it ended since it was looked at
            taken = self._ephemeral.take(_USER, code, now=now, tx=tx)
            if taken.found is not Found.TAKEN:
                raise DeviceCodeUnknown
            try:
                outcome = {"grant": self._grant(tx, request, client, subject, authentication, now) if allow else None}
            except VIOLATIONS as error:
                raise DeviceCodeUnknown from error  # its client was removed since it was looked at
            self._ephemeral.put(
                _OUTCOME,
                taken.value["id"],
                outcome,
                policy.DEVICE_CODE_LIFETIME + policy.SPENT_MEMORY,
                now=now,
                tx=tx,
            )
            audit.record(
                tx,
                audit.Event.DEVICE_APPROVE if allow else audit.Event.DEVICE_DENY,
                now=now,
                account_id=subject.sub,
                client_id=client.client_id,
                detail={"scope": " ".join(request.scopes)},
            )
        return request

    # -- inside ------------------------------------------------------------------------------------------------------

    def _find(self, typed: str, now: datetime) -> DeviceRequest | None:
        user_code = read_user_code(typed)
        waiting = None if user_code is None else self._ephemeral.get(_USER, user_code, now=now)
        client = None if waiting is None else self._services.clients.find(waiting["client_id"])
        if user_code is None or waiting is None or client is None:
            return None
        return DeviceRequest(
            user_code=show_user_code(user_code),
            client_id=client.client_id,
            client_name=client.client_name,
            scopes=tuple(waiting["scopes"]),
            resource=waiting["resource"],
            requested_at=datetime.fromisoformat(waiting["requested_at"]),
            address=waiting["address"],
        )

    def _grant(
        self,
        tx: Connection,
        request: DeviceRequest,
        client: Client,
        subject: Subject,
        authentication: Authentication,
        now: datetime,
    ) -> str:
        scopes = scopes_for(subject, request.scopes)
        self._consents.remember(tx, subject.sub, client, scopes, now)
        ends_at = authentication.auth_time + policy.SESSION_ABSOLUTE_LIFETIME
        remember_client(tx, authentication.sid, client.client_id, subject.sub, ends_at)
        return self._services.tokens.add_grant(
            tx,
            client_id=client.client_id,
            authentication=authentication,
            scopes=scopes,
            resource=request.resource,
            now=now,
            redeemable=policy.DEVICE_CODE_LIFETIME,
        )

    def _signed_in(self, authentication: Authentication | None, now: datetime) -> Subject | None:
        subject = None if authentication is None else self._services.subjects.find_subject(authentication.sub)
        return subject if subject is not None and subject.credentials_expire_at > now else None

    def _free_user_code(self, now: datetime) -> str:
        while True:
            code = "".join(secrets.choice(_ALPHABET) for _ in range(8))
            if self._ephemeral.get(_USER, code, now=now) is None:
                return code


class DeviceCodeGrant(TokenGrant):
    """The device's polling (section 3.4), until somebody has answered."""

    GRANT_TYPE = DEVICE_CODE

    def issue(self, client: Client, parameters: Mapping[str, str], now: datetime) -> dict[str, Any]:
        code, services = require(parameters, "device_code"), self.services
        key = _device_key(client.client_id, code)
        held = services.ephemeral.get(_DEVICE, key, now=now)
        outcome = None
        if held is not None:
            outcome = services.ephemeral.get(_OUTCOME, held["id"], now=now)
            if now >= datetime.fromisoformat(held["expires_at"]):
                raise ExpiredToken("The device code has run out.")
            if outcome is None:
                _check_pace(services.ephemeral, held["id"], now)
                raise AuthorizationPending("Nobody has answered yet.")
            if outcome["grant"] is None:
                raise AccessDenied("The person did not allow it.")
        services.tokens.sealing.prepare(client, now)
        with services.store.write() as tx:
            issued = self._redeem(tx, key, client, parameters, now)
        if isinstance(issued, OAuth2Error):
            raise issued
        return issued

    def _redeem(
        self, tx: Connection, key: str, client: Client, parameters: Mapping[str, str], now: datetime
    ) -> dict[str, Any] | OAuth2Error:
        services = self.services
        taken = services.ephemeral.take(_DEVICE, key, now=now, tx=tx)
        outcome = None if taken.value is None else services.ephemeral.get(_OUTCOME, taken.value["id"], now=now)
        grant = None if outcome is None else services.tokens.find_grant(outcome["grant"] or "", tx)
        if grant is None:
            return InvalidGrant(SPENT)
        if taken.found is not Found.TAKEN:
            # As with a code (P-7): seen again, somebody has it who should not, so what came of it dies.
            services.tokens.revoke_grant(tx, grant.id, now=now)
            audit.record(tx, audit.Event.CODE_REUSE, now=now, client_id=client.client_id, detail={"grant": grant.id})
            return InvalidGrant(SPENT)
        # L-5, PW-6: whoever approved must still be somebody who may have tokens.
        subject = services.subjects.find_subject(grant.sub)
        refused = self.check_resource(grant, parameters)
        if refused or grant.revoked_at is not None or subject is None or subject.credentials_expire_at <= now:
            services.tokens.revoke_grant(tx, grant.id, now=now)
            return refused or InvalidGrant(SPENT)
        return self.answer_person(tx, grant, client, subject, nonce=None, now=now)


def read_user_code(typed: str) -> str | None:
    """The eight letters of a code, however it was typed; None for what cannot be one."""
    code = _IGNORED.sub("", typed[: policy.DEVICE_TYPED_MAX]).upper()
    return code if _USER_CODE.fullmatch(code) else None


def show_user_code(code: str) -> str:
    return f"{code[:4]}-{code[4:]}"


def _device_key(client_id: str, device_code: str) -> str:
    return f"{client_id} {device_code}"


def _network(address: str) -> str:
    """What counts as one address: of IPv6, the network that one customer of a provider has at least."""
    try:
        return str(IPv6Network(f"{IPv6Address(address)}/64", strict=False))
    except ValueError:
        return address


def _check_pace(ephemeral: Ephemeral, request_id: str, now: datetime) -> None:
    """Refuse with `SlowDown` a device that asks too often: "the interval MUST be increased by 5 seconds" (3.5)."""
    pace = ephemeral.get(_PACE, request_id, now=now)
    interval = policy.DEVICE_POLL_INTERVAL if pace is None else timedelta(seconds=pace["interval"])
    early = pace is not None and now < datetime.fromisoformat(pace["next"])
    if early:
        interval += policy.DEVICE_SLOW_DOWN
    value = {
        "interval": interval.total_seconds(),
        "next": (now + interval - policy.DEVICE_POLL_SLACK).isoformat(),
    }
    ephemeral.put(_PACE, request_id, value, policy.DEVICE_CODE_LIFETIME, now=now)
    if early:
        raise SlowDown("The device asks too often: wait five seconds longer each time.")


def _read_scopes(parameters: Mapping[str, str], client: Client) -> tuple[str, ...]:
    allowed = client.allowed_scopes(split_scope(parameters.get("scope")))
    if "refresh_token" not in client.grant_types:
        allowed = tuple(scope for scope in allowed if scope != "offline_access")
    if not allowed:
        raise InvalidScope("No scope that this client may have.")
    return allowed
