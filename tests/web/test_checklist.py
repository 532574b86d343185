"""The checklist that follows the typing says what the server will say: the same predicates, in JavaScript."""

import json
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from idp.accounts.errors import PasswordRefused, PasswordRule
from idp.accounts.passwords import check_new_password, names_in_passwords, normalise_password
from idp.accounts.usernames import parse_username

SCRIPT = Path(__file__).parents[2] / "idp/static/password.js"
NAMES = [parse_username(each) for each in ("EKU9003173C9", "CT.KICR630120NX3", "usr.XIA190128J61", "ÑÑ&190128J61")]
RULES = {
    "length": PasswordRule.LENGTH,
    "upper": PasswordRule.UPPER,
    "digit": PasswordRule.DIGIT,
    "punct": PasswordRule.PUNCT,
    "names": PasswordRule.NOT_RFC,
}
# One process for a whole batch: starting it costs more than a thousand answers.
JUDGE = """
var cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(function (c) {
  return Object.keys(newPassword).filter(function (rule) { return !newPassword[rule](c[0], c[1]); }).sort();
})));
"""
# What both engines know alike: assigned in this Python's Unicode, which is the older one, and no surrogates.
CHARACTERS = st.characters(exclude_categories=("Cn", "Cs", "Co"))
PIECES = st.one_of(
    st.text(CHARACTERS, max_size=6),
    st.sampled_from(
        ["EKU9003173C9", "eku-900317", "kícr630120", "ñÑ&190128", "K\u0130CR630120", "xıa190128", "ｅｋｕ900317"]
    ),
    st.sampled_from(["Aa1.", "ǅ", "ß", "٣", "\u00a0", "e\u0301", "😀", "€", "²", "Ⅷ", "ſ"]),
)
PASSWORDS = st.lists(PIECES, min_size=1, max_size=4).map("".join).filter(bool)

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None, reason="Node is missing: install it with `apt-get install nodejs`"
)


def broken_in_script(cases: list[tuple[str, list[str]]]) -> list[list[str]]:
    program = SCRIPT.read_text() + JUDGE
    found = subprocess.run(
        ["node", "-e", program], input=json.dumps(cases), capture_output=True, text=True, check=True, timeout=60
    )
    answers: list[list[str]] = json.loads(found.stdout)
    return answers


def broken_on_server(password: str, who: int) -> list[str]:
    try:
        check_new_password(password, username=NAMES[who], brand_words=())
    except PasswordRefused as refusal:
        return sorted(name for name, rule in RULES.items() if rule in refusal.broken)
    return []


def check(cases: list[tuple[str, int]]) -> None:
    asked = [(password, list(names_in_passwords(NAMES[who]))) for password, who in cases]
    for (password, who), said in zip(cases, broken_in_script(asked), strict=True):
        assert said == broken_on_server(password, who), (password, [unicodedata.name(c, "?") for c in password])


# A password with a character that may not stand in it is judged as typed; the checklist has no line for that rule.
JUDGED = st.tuples(PASSWORDS.filter(lambda text: normalise_password(text) is not None), st.integers(0, len(NAMES) - 1))


# Not shrunk: a failure names its one password, and each step of shrinking would start a process.
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(JUDGED, min_size=40, max_size=200))
def test_script_and_server_agree(cases: list[tuple[str, int]]) -> None:
    check(cases)


def test_they_agree_on_what_people_type() -> None:
    check(
        [
            *(("Abcdef1.", 0), ("abcdef1.", 0), ("Abcdefg.", 0), ("Abcdefg1", 0), ("Abcde1.", 0), ("A1.😀😀😀😀😀", 0)),
            *(("x-EKU9003173C9.A", 0), ("x-eku 900317.A1", 0), ("kıcr630120.A", 1), ("KICR630120NX3x.", 1)),
            *(("Ñ&190128J61.a", 3), ("nn190128.A", 3), ("e\u0301E\u0301aaaa1.", 0), ("A\u00a0bcdef1", 0)),
        ]
    )
