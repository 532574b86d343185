"""One CAPTCHA answered, and many asked for, by twenty requests at once over two processes, on each database."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import create_engine

from idp import policy
from idp.accounts.attempts import CaptchaAnswer
from idp.accounts.captcha import Captcha
from idp.accounts.errors import CaptchaRefused
from idp.db import Store, engine_options
from idp.ephemeral import Ephemeral
from tests.processes import CONTEXT

KEY = b"a key for tests, which answers nothing"
BROWSER = "browser-one"
THREADS = 10
PROCESSES = 2


def work(url: str, handle: str | None, now: datetime, start: Any, results: Any) -> None:
    """One process: answer `handle` from every thread, or ask for a challenge where there is none."""
    engine = create_engine(url, **engine_options(url))
    captcha = Captcha(Ephemeral(Store(engine)), KEY)

    def once(_number: int) -> str:
        if handle is None:
            return captcha.issue(BROWSER, now)
        try:
            captcha.take(BROWSER, CaptchaAnswer(handle, captcha.characters(handle)), now)
        except CaptchaRefused as refusal:
            return refusal.problem.value
        return "taken"

    start.wait(30)
    with ThreadPoolExecutor(THREADS) as pool:
        for result in pool.map(once, range(THREADS)):
            results.put(result)
    engine.dispose()


def at_once(store: Store, handle: str | None, now: datetime) -> list[str]:
    """What each of twenty requests came to."""
    start, results = CONTEXT.Barrier(PROCESSES), CONTEXT.Queue()
    url = store.engine.url.render_as_string(hide_password=False)
    processes = [CONTEXT.Process(target=work, args=(url, handle, now, start, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in range(THREADS * PROCESSES)]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    results.close()
    results.join_thread()
    return found


@pytest.mark.spec("C-3", "D-44")
def test_an_answer_is_taken_once(store: Store, now: datetime) -> None:
    handle = Captcha(Ephemeral(store), KEY).issue(BROWSER, now)
    assert Counter(at_once(store, handle, now)) == {"taken": 1, "expired": THREADS * PROCESSES - 1}


@pytest.mark.spec("C-5")
def test_no_more_than_five_live(store: Store, now: datetime) -> None:
    captcha = Captcha(Ephemeral(store), KEY)
    handles = at_once(store, None, now)
    assert len(set(handles)) == THREADS * PROCESSES
    assert sum(captcha.is_open(BROWSER, each, now) for each in handles) == policy.CAPTCHA_LIVE_MAX
