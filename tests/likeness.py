"""Compares what two names are answered: byte by byte but for handles, and header by header (L-9)."""

import difflib
import re
from collections.abc import Callable, Iterable

import requests

from tests.journeys import Person

HANDLES = (
    re.compile(r'(?<=name="csrf_token" value=")[^"]+'),
    re.compile(r'(?<=name="captcha_handle" value=")[^"]+'),
    re.compile(r"(?<=/captcha/)[A-Za-z0-9_.-]+(?=\.(?:png|wav))"),
    re.compile(r'(?<=id="question-text">).*?(?=</p>)'),
)
"""What is random in a page, and the secret question, which is another one for another name."""
CHANGING_HEADERS = {"date", "x-request-id", "set-cookie", "content-length"}


def differences(
    person: Callable[[], Person],
    journey: Callable[[Person, str], Iterable[requests.Response]],
    one: str,
    other: str,
) -> list[str]:
    """Where the answers to one name differ from those to the other, on the same journey in fresh browsers."""
    found: list[str] = []
    pairs = zip(journey(person(), one), journey(person(), other), strict=True)
    for number, (first, second) in enumerate(pairs, 1):
        left, right = shape(first, one), shape(second, other)
        found += [f"answer {number}: {line}" for line in difflib.unified_diff(left, right, lineterm="", n=0)]
    return found


def shape(response: requests.Response, username: str) -> list[str]:
    """A response as lines in which nothing is left that is random or was typed."""
    headers = [
        f"{name}: {_blank(value, username)}"
        for name, value in sorted(response.headers.items())
        if name.lower() not in CHANGING_HEADERS
    ]
    cookies = sorted(f"cookie {cookie.name} secure={cookie.secure} {cookie.path}" for cookie in response.cookies)
    return [str(response.status_code), *headers, *cookies, *_blank(response.text, username).splitlines()]


def _blank(text: str, username: str) -> str:
    for pattern in HANDLES:
        text = pattern.sub("…", text)
    return text.replace(username, "{username}")
