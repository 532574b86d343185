"""The issuer's keys: when they are fetched, how long they are kept, which of them are taken."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from idp_kit import JwksCache, KeysUnavailable
from idp_kit.jwks import fetch_document
from joserfc.jwk import ECKey, OctKey, RSAKey
from kit_issuer import EC_KEY, ISSUER, RSA_KEY, Issuer

DISCOVERY, JWKS = f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/oauth/jwks"
NEW_KEY = ECKey.generate_key("P-256", {"kid": "ec-2", "alg": "ES256", "use": "sig"})


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(issuer: Issuer, clock: Clock) -> JwksCache:
    return JwksCache(ISSUER, fetch=issuer.fetch, clock=clock)


def test_discovery_leads_to_the_keys_and_both_are_asked_once(issuer: Issuer, cache: JwksCache) -> None:
    assert issuer.fetched == []
    assert cache.find_key("ec-1") is cache.find_key("ec-1")
    assert cache.find_key("rsa-1") is not None
    assert issuer.fetched == [DISCOVERY, JWKS]


def test_a_given_address_needs_no_discovery(issuer: Issuer, clock: Clock) -> None:
    assert JwksCache(ISSUER, jwks_uri=JWKS, fetch=issuer.fetch, clock=clock).find_key("ec-1")
    assert issuer.fetched == [JWKS]


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("", 60),
        ("no-store", 60),
        ("max-age=1", 60),
        ("public, max-age=300", 300),
        ("Max-Age=300, must-revalidate", 300),
        ("max-age=31536000", 3600),
        ("s-maxage=900", 60),
        ("max-age=-5", 60),
    ],
)
def test_the_issuer_says_how_long_within_bounds(
    cache_control: str, seconds: int, issuer: Issuer, cache: JwksCache, clock: Clock
) -> None:
    issuer.cache_control = cache_control
    cache.find_key("ec-1")
    clock.now += seconds - 1
    cache.find_key("ec-1")
    assert len(issuer.fetched) == 2
    clock.now += 1
    cache.find_key("ec-1")
    assert len(issuer.fetched) == 4


def test_an_unknown_key_id_fetches_at_most_every_thirty_seconds(issuer: Issuer, cache: JwksCache, clock: Clock) -> None:
    assert cache.find_key("nobody") is None
    assert cache.find_key("ec-2") is None
    assert issuer.fetched == [DISCOVERY, JWKS]
    issuer.keys.append(NEW_KEY.as_dict(private=False))
    clock.now += 29
    assert cache.find_key("ec-2") is None
    clock.now += 1
    assert cache.find_key("ec-2") is not None
    for _ in range(50):
        assert cache.find_key("nobody") is None
    assert issuer.fetched == [DISCOVERY, JWKS] * 2


def test_a_key_is_parsed_once_and_a_withdrawn_one_is_gone(issuer: Issuer, cache: JwksCache, clock: Clock) -> None:
    before = cache.find_key("ec-1")
    issuer.keys = [EC_KEY.as_dict(private=False), NEW_KEY.as_dict(private=False)]
    clock.now += 300
    assert cache.find_key("ec-1") is before
    assert cache.find_key("ec-2") is not None
    assert cache.find_key("rsa-1") is None
    # The same name with another key behind it is another key.
    issuer.keys = [NEW_KEY.as_dict(private=False) | {"kid": "ec-1"}]
    clock.now += 300
    assert cache.find_key("ec-1") not in (None, before)


def test_keys_outlive_their_issuer_by_one_hour(issuer: Issuer, cache: JwksCache, clock: Clock) -> None:
    cache.find_key("ec-1")
    issuer.is_down = True
    clock.now += 300
    for _ in range(20):
        assert cache.find_key("ec-1")
    assert len(issuer.fetched) == 3
    clock.now += 3599
    assert cache.find_key("ec-1")
    clock.now += 1
    with pytest.raises(KeysUnavailable):
        cache.find_key("ec-1")
    issuer.is_down = False
    clock.now += 5
    assert cache.find_key("ec-1")


def test_an_issuer_that_was_never_up(issuer: Issuer, cache: JwksCache, clock: Clock) -> None:
    issuer.is_down = True
    for _ in range(10):
        with pytest.raises(KeysUnavailable):
            cache.find_key("ec-1")
    assert len(issuer.fetched) == 1
    clock.now += 5
    issuer.is_down = False
    assert cache.find_key("ec-1")


def test_many_threads_one_fetch(issuer: Issuer) -> None:
    meet = threading.Barrier(8)
    found: list[object] = []

    def fetch_slowly(url: str) -> tuple[bytes, str]:
        time.sleep(0.02)
        return issuer.fetch(url)

    cache = JwksCache(ISSUER, fetch=fetch_slowly)

    def ask() -> None:
        meet.wait()
        found.append(cache.find_key("ec-1"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert issuer.fetched == [DISCOVERY, JWKS]
    assert len(set(map(id, found))) == 1
    assert None not in found


def test_nobody_waits_for_a_renewal_while_keys_are_at_hand(issuer: Issuer, clock: Clock) -> None:
    asked, answer = threading.Event(), threading.Event()

    def fetch(url: str) -> tuple[bytes, str]:
        if clock.now > 1000:
            asked.set()
            assert answer.wait(10)
        return issuer.fetch(url)

    cache = JwksCache(ISSUER, fetch=fetch, clock=clock)
    before = cache.find_key("ec-1")
    clock.now += 300
    renewing = threading.Thread(target=cache.find_key, args=("ec-1",))
    renewing.start()
    try:
        assert asked.wait(10)
        assert cache.find_key("ec-1") is before
    finally:
        answer.set()
        renewing.join()


def jwk(key: Any = EC_KEY, **changed: Any) -> dict[str, Any]:
    """A published key; a value of None takes a member away."""
    members = key.as_dict(private=False) | changed
    return {name: value for name, value in members.items() if value is not None}


@pytest.mark.spec("T-2")
@pytest.mark.parametrize(
    "refused",
    [
        jwk(use="enc"),
        jwk(key_ops=["encrypt"]),
        jwk(key_ops="verify"),
        jwk(alg=None),
        jwk(alg="none"),
        jwk(alg="HS256"),
        jwk(alg="ES384"),
        jwk(alg="RS256"),
        jwk(alg=["ES256"]),
        jwk(kty="RSA"),
        jwk(kty="oct", k="c2VjcmV0"),
        jwk(crv="P-384"),
        jwk(x=None),
        jwk(x="AAAA"),
        jwk(x=7),
        jwk(kid=7),
        EC_KEY.as_dict(private=True),
        jwk(OctKey.generate_key(256, {"kid": "ec-1", "alg": "ES256"}), k="c2VjcmV0"),
        "text",
        None,
        [],
    ],
    # Numbered: the keys are made anew in each process, and parallel processes must agree on the names.
    ids=[str(number) for number in range(21)],
)
def test_what_is_no_public_signing_key_is_passed_over(refused: Any, issuer: Issuer, cache: JwksCache) -> None:
    issuer.keys = [refused, RSA_KEY.as_dict(private=False)]
    assert cache.find_key("ec-1") is None
    assert cache.find_key("rsa-1") is not None


@pytest.mark.filterwarnings("ignore:Key size")  # joserfc, of the very key that we want refused
def test_a_short_rsa_key_is_passed_over(issuer: Issuer, cache: JwksCache) -> None:
    issuer.keys = [jwk(RSAKey.generate_key(1024, {"kid": "short", "alg": "RS256"})), jwk()]
    assert cache.find_key("short") is None
    assert cache.find_key("ec-1") is not None


def test_use_may_be_absent_and_other_members_do_not_matter(issuer: Issuer, cache: JwksCache) -> None:
    issuer.keys = [jwk(use=None, key_ops=["verify"], x5t="x", unheard_of=1)]
    assert cache.find_key("ec-1") is not None


def test_two_keys_of_one_name_are_neither(issuer: Issuer, cache: JwksCache) -> None:
    issuer.keys = [jwk(), jwk(NEW_KEY, kid="ec-1"), RSA_KEY.as_dict(private=False)]
    assert cache.find_key("ec-1") is None
    assert cache.find_key("rsa-1") is not None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [], "keys": []}', b"\xff", b"[" * 9000]
)
def test_what_is_no_jwk_set_is_as_good_as_none(body: bytes, clock: Clock) -> None:
    cache = JwksCache(ISSUER, jwks_uri=JWKS, fetch=lambda _: (body, ""), clock=clock)
    with pytest.raises(KeysUnavailable):
        cache.find_key("ec-1")


@pytest.mark.spec("P-15")
@pytest.mark.parametrize(
    "document",
    [
        {"issuer": ISSUER},
        {"issuer": ISSUER + "/", "jwks_uri": JWKS},
        {"issuer": "https://other.example", "jwks_uri": JWKS},
        {"issuer": ISSUER, "jwks_uri": 7},
        *(
            {"issuer": ISSUER, "jwks_uri": address}
            for address in (
                "http://idp.example/jwks",
                "http://127.0.0.1/jwks",
                "http://169.254.169.254/jwks",
                "file:///etc/passwd",
                "https:///jwks",
                "https://user@idp.example/jwks",
                "/jwks",
                "",
            )
        ),
    ],
    ids=json.dumps,
)
def test_discovery_leads_nowhere_else(document: dict[str, Any], issuer: Issuer, clock: Clock) -> None:
    asked = []

    def fetch(url: str) -> tuple[bytes, str]:
        asked.append(url)
        return (json.dumps(document).encode(), "") if url == DISCOVERY else issuer.fetch(url)

    with pytest.raises(KeysUnavailable):
        JwksCache(ISSUER, fetch=fetch, clock=clock).find_key("ec-1")
    assert asked == [DISCOVERY]


@pytest.mark.spec("P-15")
def test_plain_http_is_for_loopback_only() -> None:
    for issuer in ("http://localhost:5000", "http://127.0.0.1:5000", "http://[::1]:5000", "https://idp.example"):
        JwksCache(issuer)
    for issuer in ("http://idp.example", "http://localhost.example", "http://10.0.0.1", "file:///x", "idp.example", ""):
        with pytest.raises(ValueError, match="https"):
            JwksCache(issuer)
    with pytest.raises(ValueError, match="https"):
        JwksCache("https://idp.example", jwks_uri="http://127.0.0.1/jwks")


class Answers(BaseHTTPRequestHandler):
    """A server of good and of bad answers, by path."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        self.send_response({"/missing": 404, "/empty": 204}.get(self.path, 200))
        self.send_header("Cache-Control", "max-age=120")
        self.end_headers()
        if self.path == "/long":
            self.wfile.write(b" " * (64 * 1024) + b"{}")
        elif self.path == "/slow":
            for _ in range(400):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
                time.sleep(0.05)
        elif self.path != "/empty":
            self.wfile.write(b'{"keys": []}')

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.enable_socket
@pytest.mark.spec("P-15")
def test_only_a_short_prompt_direct_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy of the environment is not asked for what is on this machine.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving() as address:
        assert fetch_document(address + "/good") == (b'{"keys": []}', "max-age=120")
        for path in ("/moved", "/missing", "/empty", "/long"):
            with pytest.raises(KeysUnavailable):
                fetch_document(address + path)
        began = time.monotonic()
        with pytest.raises(KeysUnavailable):
            fetch_document(address + "/slow", patience=timedelta(seconds=0.2))
        assert time.monotonic() - began < 10
    with pytest.raises(KeysUnavailable):
        fetch_document(address + "/good")
