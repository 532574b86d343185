"""What the bench takes for a right answer, and what ends a side's run."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from bench.sides import Side, SideFailed
from bench.workloads import WORKLOADS, Checker

ISSUER = "http://127.0.0.1:9"
KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
OTHER = ECKey.generate_key("P-256", {"kid": KEY.kid, "use": "sig", "alg": "ES256"})
CODE = next(workload for workload in WORKLOADS if workload.name == "W2")
REFRESH = next(workload for workload in WORKLOADS if workload.name == "W3")


class KeyedSide(Side):
    """A side whose keys are known."""

    def keys(self) -> dict[str, Any]:
        return dict(KeySet([KEY]).as_dict(private=False))


@pytest.fixture
def checker(tmp_path: Path) -> Checker:
    side = KeyedSide("side", 9, [], "banco", "secret", tmp_path / "log")
    side.issuer = ISSUER
    return Checker(side)


def id_token(key: ECKey = KEY, **claims: Any) -> str:
    known = {"iss": ISSUER, "aud": "banco", "sub": "a", "nonce": "una-vez", "exp": int(time.time()) + 60}
    return jwt.encode({"alg": "ES256", "kid": KEY.kid}, {**known, **claims}, key)


def answer(**more: Any) -> str:
    return json.dumps({"access_token": "a" * 30, "token_type": "Bearer", "expires_in": 300, **more})


def test_an_id_token_of_the_sides_key_is_right_and_one_of_another_key_is_not(checker: Checker) -> None:
    CODE.check(checker, 200, answer(id_token=id_token()))
    checker = Checker(checker.side)

    with pytest.raises(SideFailed, match="does not verify"):
        CODE.check(checker, 200, answer(id_token=id_token(OTHER)))


@pytest.mark.parametrize("wrong", [{"nonce": "otra"}, {"aud": "otro"}, {"iss": "http://127.0.0.1:8"}, {"exp": 1}])
def test_an_id_token_that_says_something_else_is_not_right(checker: Checker, wrong: dict[str, Any]) -> None:
    with pytest.raises(SideFailed):
        CODE.check(checker, 200, answer(id_token=id_token(**wrong)))


def test_a_refresh_token_that_comes_twice_was_not_rotated(checker: Checker) -> None:
    REFRESH.check(checker, 200, answer(refresh_token="r" * 30))

    REFRESH.check(checker, 200, answer(access_token="b" * 30, refresh_token="s" * 30))
    with pytest.raises(SideFailed, match="twice"):
        REFRESH.check(checker, 200, answer(access_token="c" * 30, refresh_token="s" * 30))


def test_an_answer_of_another_status_is_not_right(checker: Checker) -> None:
    with pytest.raises(SideFailed, match="answered 503"):
        REFRESH.check(checker, 503, answer(refresh_token="r" * 30))


def test_a_redirect_with_another_state_is_not_right(checker: Checker) -> None:
    CODE.check(checker, 303, f"http://127.0.0.1:9/regreso?code={'c' * 30}&state=estado")

    with pytest.raises(SideFailed, match="redirected"):
        CODE.check(checker, 303, f"http://127.0.0.1:9/regreso?code={'d' * 30}&state=otro")
