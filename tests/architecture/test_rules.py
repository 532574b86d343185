"""Each rule of the house finds what it is for, and leaves alone what is allowed."""

from collections.abc import Callable, Iterator

import pytest

from tests.architecture import rules

Rule = Callable[[str], Iterator[str]]

BAD: list[tuple[Rule, str]] = [
    (rules.find_long_file, "\n" * 401),
    (rules.find_missing_docstring, "x = 1\n"),
    (rules.find_missing_docstring, '"""todo"""\n'),
    (rules.find_missing_docstring, '"""No end\n\nSecond paragraph."""\n'),
    (rules.find_span_literals, "timedelta(days=30)"),
    (rules.find_span_literals, "datetime.timedelta(30)"),
    (rules.find_span_literals, "timedelta(hours=2 * 12)"),
    (rules.find_clock_reads, "datetime.now(UTC)"),
    (rules.find_clock_reads, "datetime.datetime.utcnow()"),
    (rules.find_clock_reads, "date.today()"),
    (rules.find_clock_reads, "time.time()"),
    (rules.find_clock_of_the_store, "select(func.now())"),
    (rules.find_clock_of_the_store, "text('UPDATE a SET at = CURRENT_TIMESTAMP')"),
    (rules.find_banned_imports, "import authlib.jose"),
    (rules.find_banned_imports, "from authlib import jose"),
    (rules.find_banned_imports, "from authlib.integrations.flask_oauth2 import AuthorizationServer"),
    (rules.find_public_face, "from a import b\n"),
    (rules.find_public_face, "from a import b, c\n__all__ = ['c', 'b']\n"),
    (rules.find_public_face, "from a import b, c\n__all__ = ['b']\n"),
    (rules.find_public_face, "from a import b\n__all__ = ['b', 'c']\n"),
    (rules.find_inline_code, '<p style="color:red">'),
    (rules.find_inline_code, "<body onload=go()>"),
    (rules.find_inline_code, '<a title="a > b" onclick="go()">'),
    (rules.find_inline_code, '<a href="javascript:go()">'),
    (rules.find_inline_code, "<style>p{}</style>"),
    (rules.find_inline_code, "<script>go()</script>"),
    (rules.find_vague_name, "idp/web/utils.py"),
    (rules.find_vague_name, "idp/common/keys.py"),
]

GOOD: list[tuple[Rule, str]] = [
    (rules.find_long_file, "\n" * 400),
    (rules.find_missing_docstring, '"""The key ring over a folder of keys: sign,\nverify, publish."""\n'),
    (rules.find_missing_docstring, '"""One sentence, and enough.\n\nMore of it."""\n'),
    (rules.find_span_literals, "timedelta(days=retention_days)"),
    (rules.find_span_literals, "timedelta(0)"),
    (rules.find_span_literals, "timedelta(seconds=max(1.0, left))"),
    (rules.find_span_literals, "policy.PASSWORD_LIFETIME * 2"),
    (rules.find_clock_reads, "monotonic()"),
    (rules.find_clock_reads, "time.monotonic()"),
    (rules.find_clock_reads, "current.now()"),
    (rules.find_clock_of_the_store, "text('UPDATE a SET at = :now')"),
    (rules.find_banned_imports, "from authlib.oauth2.rfc6749 import AuthorizationServer"),
    (rules.find_banned_imports, "from joserfc import jwt"),
    (rules.find_public_face, "from a import b, c\n__all__ = ['b', 'c']\n"),
    (rules.find_inline_code, '<p class="style">{# <style> #}'),
    (rules.find_inline_code, '<script src="/static/signin.js" defer></script>'),
    (rules.find_inline_code, '<option data-once="1">'),
    (rules.find_vague_name, "idp/protocol/client_auth.py"),
    (rules.find_vague_name, "idp/baseline.py"),
]


@pytest.mark.parametrize(("rule", "text"), BAD)
def test_a_rule_finds_what_it_is_for(rule: Rule, text: str) -> None:
    assert list(rule(text))


@pytest.mark.parametrize(("rule", "text"), GOOD)
def test_a_rule_leaves_the_rest_alone(rule: Rule, text: str) -> None:
    assert list(rule(text)) == []


@pytest.mark.parametrize(
    "identifier", ["M4", "L-2", "PW-8", "D-40", "RFC 9126", "RFC 9126 §2.1", "OIDC Core §3.1.2.1", "contract §5"]
)
def test_forms_of_a_requirement(identifier: str) -> None:
    assert list(rules.find_unknown_marks(iter([identifier]))) == []


@pytest.mark.parametrize("identifier", ["", "lockout", "L2", "RFC9126", "RFC 9126 §", "X-1"])
def test_other_words_are_no_requirement(identifier: str) -> None:
    assert list(rules.find_unknown_marks(iter([identifier])))
