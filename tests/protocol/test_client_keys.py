"""Secrets that rotate and end, keys that are found and kept, by what a client registered."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from idp import policy
from idp.protocol.client_keys import ClientKeys
from idp.protocol.details import ClientDetails
from idp.protocol.fetch import Fetcher, FetchProblem
from tests.protocol.conftest import House
from tests.protocol.test_client_auth import KEYS, ask, assert_refused, key_set, signer


@pytest.mark.spec("P-10")
def test_after_a_rotation_the_old_secret_lives_as_long_as_was_said(house: House) -> None:
    client = house.client(grant_types=("client_credentials",))
    old = house.secrets[client.client_id]
    new = house.server.clients.rotate_secret(client.client_id, now=house.now, keep=timedelta(hours=2))

    def status(secret: str | None, hours: float) -> int:
        now = house.now + timedelta(hours=hours)
        return ask(house, now=now, client_id=client.client_id, client_secret=secret).status

    assert (status(old, 1.9), status(new, 1.9)) == (200, 200)
    assert (status(old, 2), status(new, 2)) == (401, 200)
    newest = house.server.clients.rotate_secret(client.client_id, now=house.now)
    assert (status(old, 1), status(new, 1), status(newest, 1)) == (401, 401, 200)


@pytest.mark.spec("P-10", "RFC 7591 §3.2.1")
def test_a_secret_can_end_by_itself(house: House) -> None:
    client = house.client(grant_types=("client_credentials",))
    ends = house.now + timedelta(days=1)
    secret = house.server.clients.rotate_secret(client.client_id, now=house.now, secret_expires_at=ends)
    parameters = {"client_id": client.client_id, "client_secret": secret}
    assert ask(house, now=ends - timedelta(seconds=1), **parameters).status == 200
    assert_refused(ask(house, now=ends, **parameters))
    # Kept beside a new one, it does not outlive itself.
    house.server.clients.rotate_secret(client.client_id, now=house.now, keep=timedelta(days=3))
    assert_refused(ask(house, now=ends, **parameters))


@pytest.mark.spec("S-4")
def test_a_secret_is_kept_readable_only_where_it_must_be(house: House) -> None:
    sealed = house.client(profile="compat", token_endpoint_auth_method="client_secret_jwt")
    hashed = house.client()
    clients = house.server.clients
    assert clients.reveal_secret(sealed) == house.secrets[sealed.client_id]
    assert clients.reveal_secret(hashed) is None
    row = repr(sealed)
    assert str(house.secrets[sealed.client_id]) not in row
    # Moved to another client's row it opens nothing.
    assert clients.reveal_secret(replace(hashed, client_secret_encrypted=sealed.client_secret_encrypted)) is None


class Shelf(Fetcher):
    """A `jwks_uri` in memory."""

    def __init__(self, *keys: Any) -> None:
        super().__init__()
        self.keys = keys
        self.asked = 0
        self.is_up = True

    def get_json(self, url: str) -> Any:
        assert url == "https://app.example/keys"
        self.asked += 1
        if not self.is_up:
            raise FetchProblem("down")
        return key_set(*self.keys)


def reader(house: House, shelf: Shelf) -> Callable[..., bool]:
    """Whether `kid` is found after so many seconds."""
    keys = ClientKeys(shelf)
    client = signer(house, details=ClientDetails(jwks_uri="https://app.example/keys"))

    def has(kid: str, seconds: float = 0) -> bool:
        now = house.now + timedelta(seconds=seconds)
        return keys.find_key(client, kid=kid, alg="ES256", use="sig", now=now) is not None

    return has


def test_keys_are_fetched_once_and_again_when_they_are_old(house: House) -> None:
    shelf = Shelf(KEYS["ES256"])
    has = reader(house, shelf)
    assert [has("ec", seconds) for seconds in (0, 1, 299)] == [True] * 3
    assert shelf.asked == 1
    assert has("ec", 301)
    assert shelf.asked == 2


@pytest.mark.spec("OIDC Core §10.1.1")
def test_a_new_key_is_looked_for_once_a_minute(house: House) -> None:
    shelf = Shelf(KEYS["ES256"])
    has = reader(house, shelf)
    assert has("ec")
    shelf.keys = (ECKey.generate_key("P-256", {"kid": "new"}),)
    assert [has("new", seconds) for seconds in (1, 30, 59)] == [False] * 3
    assert shelf.asked == 1
    assert has("new", 61)
    assert [has("other", seconds) for seconds in (62, 90, 120)] == [False] * 3
    assert shelf.asked == 2


def test_old_keys_stay_good_for_an_hour_while_the_address_is_down(house: House) -> None:
    shelf = Shelf(KEYS["ES256"])
    has = reader(house, shelf)
    assert has("ec")
    shelf.is_up = False
    assert has("ec", 400)
    assert has("ec", 3599)
    assert not has("ec", 3601)
    asked = shelf.asked
    assert not has("ec", 3630)
    assert shelf.asked == asked


class Silent(Fetcher):
    """Addresses of which those on `slow.example` answer when they are let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()

    def get_json(self, url: str) -> Any:
        if url.startswith("https://slow.example/"):
            self.may_answer.wait(30)
        return key_set(KEYS["ES256"])


@pytest.mark.spec("O-4", "P-15")
@pytest.mark.parametrize("path", ["{}", "one"], ids=["many addresses", "one address"])
def test_addresses_that_do_not_answer_hold_few_threads(house: House, path: str) -> None:
    """Whoever registers one could hold every thread of the server, five seconds at a time."""
    web, client, numbers = Silent(), signer(house), itertools.count()
    keys = ClientKeys(web)

    def find(uri: str) -> bool:
        own = replace(client, details=ClientDetails(jwks_uri=uri))
        return keys.find_key(own, kid="ec", alg="ES256", use="sig", now=house.now) is not None

    with ThreadPoolExecutor(policy.FETCHES_AT_ONCE) as pool:
        try:
            held = [pool.submit(find, f"https://slow.example/{path.format(n)}") for n in range(policy.FETCHES_AT_ONCE)]
            until = time.monotonic() + 20
            # Refused at once, where it would have waited.
            while find(f"https://app.example/{next(numbers)}"):
                assert time.monotonic() < until, "more of them wait than may"
            assert not find("https://slow.example/another")
        finally:
            web.may_answer.set()
        assert all(each.result() for each in held)
    assert find("https://slow.example/another")


def test_keys_that_are_not_for_it_are_not_taken(house: House) -> None:
    public = KEYS["ES256"].as_dict(private=False)
    strong = RSAKey.generate_key(2048).as_dict(private=False)
    weak = {**strong, "n": str(strong["n"])[:171]}

    def finds(key: dict[str, Any], alg: str = "ES256", use: str = "sig") -> bool:
        client = replace(signer(house), details=ClientDetails(jwks={"keys": [key]}))
        return ClientKeys().find_key(client, kid=None, alg=alg, use=use, now=house.now) is not None

    assert finds(public)
    assert finds({**public, "use": "sig", "alg": "ES256"})
    assert not finds({**public, "use": "enc"})
    assert not finds({**public, "alg": "ECDH-ES"})
    assert finds(public, "ECDH-ES", "enc")
    assert not finds(public, "RS256")
    assert finds(strong, "RS256")
    assert not finds(weak, "RS256")
    assert not finds({**public, "kty": "oct"})
    assert not finds(KEYS["ES256"].as_dict(private=True))
