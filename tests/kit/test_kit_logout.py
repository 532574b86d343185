"""A logout token: what is obeyed, and what is taken for one by nobody."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from idp_kit import InvalidToken, JwksCache, LogoutTokenVerifier
from kit_issuer import EC_KEY, ISSUER, RSA_KEY, Issuer, encode

EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
def logout(issuer: Issuer) -> LogoutTokenVerifier:
    return LogoutTokenVerifier(ISSUER, "mailbox", JwksCache(ISSUER, fetch=issuer.fetch))


def claims(now: datetime, **changed: Any) -> dict[str, Any]:
    """Those of a good logout token; a value of None takes the claim away."""
    issued = int(now.timestamp())
    good = {
        "iss": ISSUER,
        "sub": "person-1",
        "aud": "mailbox",
        "iat": issued,
        "exp": issued + 120,
        "jti": "one",
        "sid": "sid-1",
        "events": {EVENT: {}},
    }
    return {name: value for name, value in (good | changed).items() if value is not None}


@pytest.mark.parametrize("changed", [{}, {"sid": None}, {"sub": None}, {"aud": ["other", "mailbox"]}])
@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["ES256", "RS256"])
def test_a_good_one_says_whose_session_has_ended(
    issuer: Issuer, logout: LogoutTokenVerifier, now: datetime, changed: dict[str, Any], key: Any
) -> None:
    expected = claims(now, **changed)
    read = logout.verify(issuer.sign(expected, key=key, typ="logout+jwt"), now)
    assert (read.sub, read.sid, read.jti) == (expected.get("sub"), expected.get("sid"), "one")
    assert read.replayable_until == now.replace(microsecond=0) + timedelta(seconds=150)


@pytest.mark.spec("T-1", "D-34")
@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"exp": None},
        {"iat": None},
        {"jti": None},
        {"jti": ""},
        {"events": None},
        {"events": {}},
        {"events": [EVENT]},
        {"events": {EVENT: None}},
        {"events": {"http://schemas.openid.net/event/other": {}}},
        {"nonce": "n-1"},
        {"sub": None, "sid": None},
        {"sid": 1},
        {"sub": ["person-1"]},
    ],
    ids=str,
)
def test_one_that_differs_in_one_claim_is_refused(
    issuer: Issuer, logout: LogoutTokenVerifier, now: datetime, changed: dict[str, Any]
) -> None:
    with pytest.raises(InvalidToken):
        logout.verify(issuer.sign(claims(now, **changed), typ="logout+jwt"), now)


@pytest.mark.spec("T-1", "T-2", "D-29")
@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "jwt", None])
def test_another_kind_of_token_is_no_logout_token(
    issuer: Issuer, logout: LogoutTokenVerifier, now: datetime, typ: str | None
) -> None:
    with pytest.raises(InvalidToken):
        logout.verify(issuer.sign(claims(now), typ=typ), now)


@pytest.mark.spec("T-2", "D-29", "D-30")
def test_a_forged_one_is_refused(issuer: Issuer, logout: LogoutTokenVerifier, now: datetime) -> None:
    good = issuer.sign(claims(now), typ="logout+jwt")
    _header, payload, signature = good.split(".")
    for alg in ("none", "None", "HS256"):
        forged = encode({"alg": alg, "kid": EC_KEY.kid, "typ": "logout+jwt"})
        for end in ("", signature):
            with pytest.raises(InvalidToken):
                logout.verify(f"{forged}.{payload}.{end}", now)
    with pytest.raises(InvalidToken):
        logout.verify(good.replace(payload, encode(json.dumps(claims(now, sid="sid-2")))), now)
    assert logout.verify(good, now).sid == "sid-1"


@pytest.mark.spec("T-3")
def test_it_ends_with_its_time(issuer: Issuer, logout: LogoutTokenVerifier, now: datetime) -> None:
    token = issuer.sign(claims(now), typ="logout+jwt")
    read = logout.verify(token, now + timedelta(seconds=149))
    with pytest.raises(InvalidToken):
        logout.verify(token, read.replayable_until)


def test_a_verifier_takes_signatures_by_public_keys_alone(issuer: Issuer) -> None:
    keys = JwksCache(ISSUER, fetch=issuer.fetch)
    for algorithms in ((), ("none",), ("HS256",)):
        with pytest.raises(ValueError, match="algorithms"):
            LogoutTokenVerifier(ISSUER, "mailbox", keys, algorithms)
    with pytest.raises(ValueError, match="client id"):
        LogoutTokenVerifier(ISSUER, "", keys)
