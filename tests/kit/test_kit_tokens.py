"""What the kit takes for an access token, and everything that it does not (security.md T-1 to T-3, D-29 to D-35)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from idp_kit import (
    AccessTokenVerifier,
    ExpiredToken,
    InsufficientScope,
    InvalidRetention,
    InvalidToken,
    JwksCache,
    verify_jwt,
)
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from kit_issuer import AUDIENCE, EC_KEY, ISSUER, RSA_KEY, Issuer, encode

SECOND = timedelta(seconds=1)


def test_a_good_token_is_read(issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    token = verifier.verify(issuer.token(scope="openid profile", nonce="n"), now)
    assert token.sub == issuer.claims()["sub"]
    assert token.client_id == "mailbox"
    assert token.scopes == {"openid", "profile"}
    assert token.claims["nonce"] == "n"
    assert token.mailbox is None
    assert token.expires_at == now + timedelta(minutes=5)
    with pytest.raises(InvalidRetention):
        token.get_mailbox()


def test_every_good_spelling_is_taken(issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    for changed in ({"aud": [AUDIENCE, "https://other.example"]}, {"scope": None}, {"scope": ""}):
        assert verifier.verify(issuer.token(**changed), now).sub
    assert verifier.verify(issuer.sign(issuer.claims(), key=RSA_KEY), now).sub
    assert verifier.verify(issuer.sign(issuer.claims(), typ="application/AT+JWT"), now).sub


@pytest.mark.spec("T-1")
@pytest.mark.parametrize(
    "changed",
    [
        *({name: None} for name in ("iss", "sub", "aud", "client_id", "iat", "exp", "jti")),
        *({name: ""} for name in ("iss", "sub", "aud", "client_id", "jti")),
        *({name: 7} for name in ("iss", "sub", "aud", "client_id", "jti", "scope")),
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"aud": []},
        {"aud": [[AUDIENCE]]},
        {"aud": {AUDIENCE: 1}},
        {"aud": [AUDIENCE, 7]},
        {"aud": AUDIENCE + "/"},
        {"scope": ["openid"]},
        {"cnf": {"jkt": "x"}},
        {"cnf": {}},
    ],
    ids=json.dumps,
)
def test_a_claim_missing_or_wrong(
    changed: dict[str, Any], issuer: Issuer, verifier: AccessTokenVerifier, now: datetime
) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.token(**changed), now)


@pytest.mark.spec("D-35")
def test_a_token_for_another_resource(issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    for aud in ("https://other.example", ["https://other.example"], "mailbox", ISSUER):
        with pytest.raises(InvalidToken):
            verifier.verify(issuer.token(aud=aud), now)


@pytest.mark.spec("T-1")
@pytest.mark.parametrize("typ", ["JWT", "logout+jwt", "dpop+jwt", "", None, 1, ["at+jwt"], "x/at+jwt"], ids=repr)
def test_another_kind_of_token(typ: Any, issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.sign(issuer.claims(), typ=typ), now)


@pytest.mark.spec("D-29")
@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, "HS256", 0, ["ES256"]], ids=repr)
def test_no_algorithm_or_no_signature(alg: Any, issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    good = issuer.token()
    header, payload, _ = good.split(".")
    assert verifier.verify(good, now)
    forged = issuer.sign(issuer.claims(), alg=alg)
    unsigned = forged.rsplit(".", 1)[0]
    for token in (forged, unsigned + ".", unsigned + ".AA", unsigned, f"{header}.{payload}.", f"{header}.{payload}"):
        with pytest.raises(InvalidToken):
            verifier.verify(token, now)


@pytest.mark.spec("D-30")
@pytest.mark.parametrize(
    "secret",
    [
        EC_KEY.as_pem(private=False),
        EC_KEY.as_der(private=False),
        json.dumps(EC_KEY.as_dict(private=False)).encode(),
        RSA_KEY.as_pem(private=False),
        json.dumps(RSA_KEY.as_dict(private=False)).encode(),
    ],
    ids=["EC PEM", "EC DER", "EC JWK", "RSA PEM", "RSA JWK"],
)
def test_hmac_with_the_public_key(secret: bytes, issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    # Said to be asymmetric text, which joserfc would refuse to use as a secret: a forger has no such scruples.
    key = OctKey.import_key(secret.hex(), {"alg": "HS256"})
    key._raw_value = secret
    for kid in ("ec-1", "rsa-1"):
        for alg in ("HS256", "ES256", "RS256"):
            with pytest.raises(InvalidToken):
                verifier.verify(issuer.sign(issuer.claims(), key=key, kid=kid, alg=alg), now)


@pytest.mark.spec("D-31")
def test_a_key_that_the_token_brings_along(issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    own = ECKey.generate_key("P-256", {"kid": "own", "alg": "ES256"})
    jwk = own.as_dict(private=False)
    for header in (
        {"jwk": jwk},
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/certificate"},
        {"x5c": ["AAAA"]},
        {"jwk": jwk, "kid": None},
        {"jwk": jwk, "kid": "ec-1"},
        {},
    ):
        with pytest.raises(InvalidToken):
            verifier.verify(issuer.sign(issuer.claims(), key=own, **header), now)
    # Not even with a good signature do they count as harmless.
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.sign(issuer.claims(), jku="https://attacker.example/jwks"), now)
    assert all(url.startswith(ISSUER + "/") for url in issuer.fetched)


@pytest.mark.spec("D-32")
@pytest.mark.parametrize(
    "kid",
    ["../../dev/null", "' or 1=1--", "k" * 10_240, "", None, 1, ["ec-1"], {"ec-1": 1}, "EC-1", "rsa-1", "\ud800"],
    ids=lambda kid: repr(kid)[:20],
)
def test_a_key_id_of_nobody_or_of_another_key(
    kid: Any, issuer: Issuer, verifier: AccessTokenVerifier, now: datetime
) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.sign(issuer.claims(), kid=kid), now)
    assert set(issuer.fetched) <= {f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/oauth/jwks"}


@pytest.mark.spec("D-32")
def test_a_retired_key(issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    token = issuer.token()
    assert verifier.verify(token, now)
    issuer.keys = [RSA_KEY.as_dict(private=False)]
    afresh = AccessTokenVerifier(ISSUER, AUDIENCE, JwksCache(ISSUER, fetch=issuer.fetch))
    with pytest.raises(InvalidToken):
        afresh.verify(token, now)


@pytest.mark.spec("D-33")
@pytest.mark.parametrize("header", [{"crit": ["x"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}])
def test_a_header_that_asks_for_more(
    header: dict[str, Any], issuer: Issuer, verifier: AccessTokenVerifier, now: datetime
) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.sign(issuer.claims(), **header), now)


@pytest.mark.spec("D-33")
@pytest.mark.parametrize("twice", ["sub", "exp", "aud", "mailbox"])
def test_a_claim_that_stands_twice(twice: str, issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    claims = issuer.claims(scope="mailbox:read", mailbox=issuer.mailbox())
    text = json.dumps(claims)
    assert verifier.verify(issuer.sign(text), now)
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.sign(f'{text[:-1]}, "{twice}": {json.dumps(claims[twice])}}}'), now)
    inner = text.replace('"rfc"', '"rfc": "XIA190128J61", "rfc"')
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.sign(inner), now)


@pytest.mark.spec("D-33")
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1795543500", "", True, [], {}, -1, 1e12, "null", "NaN", "Infinity", "1e400"])
def test_a_time_that_is_none(
    name: str, value: Any, issuer: Issuer, verifier: AccessTokenVerifier, now: datetime
) -> None:
    raw = value if value in ("null", "NaN", "Infinity", "1e400") else json.dumps(value)
    claims = json.dumps(issuer.claims(**{name: 0.5})).replace("0.5", raw)
    with pytest.raises(InvalidToken):
        verifier.verify(issuer.sign(claims), now)


@pytest.mark.spec("T-3")
def test_thirty_seconds_of_slack_and_none_for_mailbox_scopes(
    issuer: Issuer, verifier: AccessTokenVerifier, now: datetime
) -> None:
    end = now + timedelta(minutes=5)
    slack = timedelta(seconds=30)
    plain, mailbox = issuer.token(), issuer.mailbox_token()
    assert verifier.verify(plain, end + slack - SECOND)
    assert verifier.verify(mailbox, end - SECOND)
    for token, late in ((plain, end + slack), (mailbox, end)):
        with pytest.raises(ExpiredToken):
            verifier.verify(token, late)
    for name in ("nbf", "iat"):
        begins = int(now.timestamp()) + 30
        assert verifier.verify(issuer.token(**{name: begins}), now)
        assert verifier.verify(issuer.mailbox_token(**{name: begins}), now)
        with pytest.raises(InvalidToken):
            verifier.verify(issuer.token(**{name: begins + 1}), now)
    strict = AccessTokenVerifier(ISSUER, AUDIENCE, JwksCache(ISSUER, fetch=issuer.fetch), leeway=timedelta())
    with pytest.raises(ExpiredToken):
        strict.verify(plain, end)


@pytest.mark.spec("K-4")
@pytest.mark.parametrize("scope", ["mailbox:read", "openid mailbox:download", "mailbox:unheard-of"])
@pytest.mark.parametrize("claim", [None, {}, "EKU9003173C9", [], {"rfc": "EKU9003173C9"}], ids=repr)
def test_a_mailbox_scope_without_a_claim_to_obey(
    scope: str, claim: Any, issuer: Issuer, verifier: AccessTokenVerifier, now: datetime
) -> None:
    with pytest.raises(InvalidRetention):
        verifier.verify(issuer.token(scope=scope, mailbox=claim), now)


@pytest.mark.spec("K-4")
def test_a_mailbox_claim_counts_only_with_its_scope(
    issuer: Issuer, verifier: AccessTokenVerifier, now: datetime
) -> None:
    token = verifier.verify(issuer.token(scope="openid", mailbox=issuer.mailbox()), now)
    assert token.mailbox is None
    with pytest.raises(InsufficientScope):
        token.check_scopes("mailbox:read")


@pytest.mark.spec("K-7")
def test_claim_and_scope_must_agree(issuer: Issuer, verifier: AccessTokenVerifier, now: datetime) -> None:
    scopes = ("mailbox:read", "mailbox:download", "mailbox:issued", "mailbox:archive", "mailbox:unheard-of")

    def allowed(**mailbox: Any) -> set[str]:
        token = verifier.verify(issuer.token(scope=" ".join(scopes), mailbox=issuer.mailbox(**mailbox)), now)
        given = set()
        for scope in scopes:
            try:
                token.check_scopes(scope)
            except InsufficientScope:
                continue
            given.add(scope)
        return given

    assert allowed() == {"mailbox:read", "mailbox:download"}
    assert allowed(actions=["read"]) == {"mailbox:read"}
    assert allowed(actions=["download"], role=["issuer"]) == {"mailbox:download", "mailbox:issued"}
    assert allowed(actions=["read"], stamped_from=None, archive=True) == {"mailbox:read", "mailbox:archive"}


@pytest.mark.spec("T-2")
def test_a_verifier_names_good_algorithms_only(issuer: Issuer, now: datetime) -> None:
    keys = JwksCache(ISSUER, fetch=issuer.fetch)
    for algorithms in ((), ("none",), ("HS256",), ("ES256", "HS256"), ("ES384",)):
        with pytest.raises(ValueError, match="algorithms"):
            AccessTokenVerifier(ISSUER, AUDIENCE, keys, algorithms)
    for leeway in (timedelta(seconds=31), -SECOND):
        with pytest.raises(ValueError, match="leeway"):
            AccessTokenVerifier(ISSUER, AUDIENCE, keys, leeway=leeway)
    with pytest.raises(ValueError, match="audience"):
        AccessTokenVerifier(ISSUER, "", keys)
    only_rsa = AccessTokenVerifier(ISSUER, AUDIENCE, keys, ("RS256",))
    assert only_rsa.verify(issuer.sign(issuer.claims(), key=RSA_KEY), now)
    with pytest.raises(InvalidToken):
        only_rsa.verify(issuer.token(), now)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc, which would rather have RFC 9864's names
def test_the_other_algorithms_on_request(issuer: Issuer, now: datetime) -> None:
    keys = (
        RSAKey.generate_key(2048, {"kid": "ps", "alg": "PS256"}),
        OKPKey.generate_key("Ed25519", {"kid": "ed", "alg": "EdDSA"}),
    )
    issuer.keys = [key.as_dict(private=False) for key in keys]
    cache = JwksCache(ISSUER, fetch=issuer.fetch)
    asked = AccessTokenVerifier(ISSUER, AUDIENCE, cache, ("PS256", "EdDSA"))
    unasked = AccessTokenVerifier(ISSUER, AUDIENCE, cache)
    for key in keys:
        token = issuer.sign(issuer.claims(), key=key)
        assert asked.verify(token, now)
        with pytest.raises(InvalidToken):
            unasked.verify(token, now)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "a.b", "a.b.c.d", "é.b.c", "x" * 20_000, None, b"a.b.c", f"{encode('[' * 9000)}.e30.AA"],
    ids=lambda token: repr(token)[:12],
)
def test_what_is_no_token(token: Any, verifier: AccessTokenVerifier, now: datetime) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(token, now)


@pytest.mark.spec("T-2")
def test_a_key_is_for_the_one_algorithm_that_it_names(issuer: Issuer, now: datetime) -> None:
    def sign_and_verify(alg: str | None) -> dict[str, Any]:
        """Sign with RS256, by a key that says it is for `alg`."""
        key = RSAKey.import_key(RSA_KEY.as_dict(private=False) | {"kid": "one"})
        key._dict_value = {name: value for name, value in key.dict_value.items() if name != "alg"}
        if alg is not None:
            key._dict_value["alg"] = alg
        token = issuer.sign(issuer.claims(), key=RSA_KEY, kid="one")
        return verify_jwt(
            token,
            find_key=lambda _: key,
            algorithms=("RS256", "PS256"),
            typ="at+jwt",
            now=now,
            leeway=timedelta(),
        )

    assert sign_and_verify("RS256")
    for alg in ("PS256", None):
        with pytest.raises(InvalidToken):
            sign_and_verify(alg)


def _find_key(kid: str) -> ECKey | None:
    return EC_KEY if kid == "ec-1" else None


NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
GOOD = Issuer(NOW).token()
# What a forger would try: characters replaced, cut out, put in.
EDITS = st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 3), st.text("ABCxyz019-_=.+/ \n", max_size=3))
JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)


def verify(token: str) -> dict[str, Any]:
    return verify_jwt(
        token, find_key=_find_key, algorithms=("ES256",), typ="at+jwt", now=NOW, leeway=timedelta(seconds=30)
    )


@settings(max_examples=300, deadline=None)
@given(edits=st.lists(EDITS, min_size=1, max_size=3))
def test_a_token_changed_anywhere_is_refused_or_says_the_same(edits: list[tuple[int, int, str]]) -> None:
    token = GOOD
    for at, cut, put in edits:
        token = token[:at] + put + token[at + cut :]
    try:
        claims = verify(token)
    except InvalidToken:
        return
    # The last character of a signature has bits that nobody reads.
    assert token.rsplit(".", 1)[0] == GOOD.rsplit(".", 1)[0]
    assert claims == Issuer(NOW).claims()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cty", "crit", "jwk"]), JSON_VALUES, max_size=3),
    changed=st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "sub", "aud"]), JSON_VALUES, max_size=3),
)
def test_whatever_was_signed_is_read_or_refused_in_one_way(header: dict[str, Any], changed: dict[str, Any]) -> None:
    issuer = Issuer(NOW)
    try:
        claims = verify(issuer.sign(json.dumps(issuer.claims() | changed), **header))
    except InvalidToken:
        return
    assert claims["exp"] > NOW.timestamp() - 30
    assert not {"crit", "jwk"} & {name for name, value in header.items() if value is not None}
