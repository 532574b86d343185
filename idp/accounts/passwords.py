"""Password hashes and the rules of new passwords."""

import ctypes
import logging
import os
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from threading import BoundedSemaphore, Lock, Timer
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from idp import meters, policy
from idp.accounts.errors import HashingOverloaded, PasswordRefused, PasswordRule
from idp.places import aside

if TYPE_CHECKING:
    from idp.accounts.usernames import Username

_log = logging.getLogger(__name__)

# RFC 8264 section 9.13, PrecisIgnorableProperties, and 9.9, OldHangulJamo, as far as the general category does not
# tell: fillers, variation selectors and conjoining jamo.
_DISALLOWED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef"
    "\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]"
)
# Control, format, surrogate, private use, unassigned. RFC 8264 lets ZWJ and ZWNJ (Cf) stand in some contexts; we are
# stricter, since keyboards put them where nobody sees them.
_NUMBER = re.compile("[0-9]{1,18}")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def normalise_password(password: str) -> str | None:
    """The form that is hashed (RFC 8265 section 4.2, OpaqueString), or None where a character may not stand in it.

    Other spaces become U+0020, then NFC; case and outer spaces stay. Characters are refused, never dropped (PW-3).
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    text = unicodedata.normalize("NFC", spaced)
    if _DISALLOWED.search(text) or any(unicodedata.category(char) in _REFUSED_CATEGORIES for char in text):
        return None
    return text


_M_ARENA_MAX = -8  # <malloc.h>


def _keep_one_arena() -> None:
    """Let all threads of this process take their memory from one place.

    The C library gives each thread a place of its own, and keeps there what a hash has used: with sixteen threads 19
    MiB each, 318 MiB measured for a process that hashes one password at a time. Shared it is 33, and a hash is faster
    by a tenth, since its memory is there already.
    """
    with suppress(OSError, AttributeError):  # another C library than GNU's
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class _HashMemory:
    """What hashes have used stays for the next one, and goes back to the system once none has come for a while."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._left_at = 0.0
        self._is_watched = False
        _keep_one_arena()

    def leave(self) -> None:
        """A hash is done."""
        with self._lock:
            self._left_at = monotonic()
            if not self._is_watched:
                self._is_watched = True
                self._watch(policy.HASH_MEMORY_KEPT.total_seconds())

    def _watch(self, seconds: float) -> None:
        timer = Timer(seconds, self._look)
        timer.daemon = True
        timer.start()

    def _look(self) -> None:
        with self._lock:
            left = self._left_at + policy.HASH_MEMORY_KEPT.total_seconds() - monotonic()
            if left > 0:
                self._watch(left)
                return
            self._is_watched = False
        with suppress(OSError, AttributeError):  # as above
            ctypes.CDLL(None).malloc_trim(0)


class Hasher:
    """Argon2id in a bounded number of slots, so that many sign-ins at once cannot exhaust memory or cores (L-10).

    `hash` and `verify` wait `PASSWORD_HASH_WAIT` for a slot and then raise `HashingOverloaded`.
    """

    def __init__(self, slots: int) -> None:
        self._slots = BoundedSemaphore(slots)
        self._argon2 = PasswordHasher(
            time_cost=policy.ARGON2_TIME_COST,
            memory_cost=policy.ARGON2_MEMORY_KIB,
            parallelism=policy.ARGON2_PARALLELISM,
        )
        self._dummy = self._make_dummy()
        self._memory = _HashMemory()

    def hash(self, password: str) -> str:
        """The hash to keep. `ValueError` for a password that `check_new_password` would not have let through."""
        normal = normalise_password(password)
        if normal is None or len(normal) > policy.PASSWORD_LENGTH_MAX:
            raise ValueError("a password that was not checked")
        with self._slot():
            return self._argon2.hash(normal)

    def verify(self, password: str, hashed: str | None) -> bool:
        """Whether the password is the hashed one. None costs as much time and is never right (L-9)."""
        normal = normalise_password(password)
        if normal is None or len(normal) > policy.PASSWORD_LENGTH_MAX:
            # Cannot be anybody's; what is compared instead is short, whatever was sent.
            normal, hashed = "", None
        with self._slot():
            try:
                # `_dummy` has a random digest, which no password is known to give; `and` makes that a certainty.
                return self._argon2.verify(hashed or self._dummy, normal) and hashed is not None
            except VerifyMismatchError:
                return False
            except (InvalidHashError, VerificationError):
                _log.error("a stored password hash cannot be read")
                return False

    def pretend(self) -> None:
        """Take as long as `verify` and compare nothing: for refusals that must not come sooner than others (L-9)."""
        Hasher.verify(self, "", None)

    def needs_rehash(self, hashed: str) -> bool:
        """Whether the hash was made with other parameters than policy asks for now."""
        return self._argon2.check_needs_rehash(hashed)

    def _make_dummy(self) -> str:
        # Written, not computed: verifying against it costs what every hash costs, and making it costs nothing.
        def text(length: int) -> str:
            return b64encode(os.urandom(length)).rstrip(b"=").decode("ascii")

        cost = f"m={policy.ARGON2_MEMORY_KIB},t={policy.ARGON2_TIME_COST},p={policy.ARGON2_PARALLELISM}"
        return f"$argon2id$v=19${cost}${text(self._argon2.salt_len)}${text(self._argon2.hash_len)}"

    @contextmanager
    def _slot(self) -> Iterator[None]:
        with aside():
            began = perf_counter()
            is_free = self._slots.acquire(timeout=policy.PASSWORD_HASH_WAIT.total_seconds())
            meters.time(meters.Timed.HASH_WAIT, perf_counter() - began)
            if not is_free:
                raise HashingOverloaded(policy.RETRY_AFTER)
            try:
                yield
            finally:
                self._slots.release()
                self._memory.leave()


# -- rules of new passwords ------------------------------------------------------------------------------------------


def check_new_password(password: str, *, username: "Username", brand_words: Sequence[str]) -> None:
    """Refuse with every broken rule of PW-1 to PW-4, in the order in which pages show them; `PasswordRefused`."""
    normal = normalise_password(password)
    text = password if normal is None else normal
    if len(text) > policy.PASSWORD_LENGTH_MAX:
        raise PasswordRefused((PasswordRule.TOO_LONG,))
    categories = {unicodedata.category(char) for char in text}
    broken = {
        PasswordRule.LENGTH: len(text) < policy.PASSWORD_LENGTH_MIN,
        PasswordRule.UPPER: categories.isdisjoint({"Lu", "Lt"}),
        PasswordRule.DIGIT: "Nd" not in categories,
        PasswordRule.PUNCT: not any(category[0] in "PS" for category in categories),
        PasswordRule.CONTROL: normal is None,
        PasswordRule.NOT_RFC: names_user(text, username),
        PasswordRule.COMMON: _names_brand(text, brand_words) or is_known(text),
    }
    rules = tuple(rule for rule, is_broken in broken.items() if is_broken)
    if rules:
        raise PasswordRefused(rules)


def only_digits_differ(one: str, other: str) -> bool:
    """Whether two passwords are the same but for their decimal digits: `Enero2026.` and `Enero2027.` (PW-5)."""
    return _without_digits(one) == _without_digits(other)


def find_neighbours(password: str) -> tuple[str, ...]:
    """The passwords whose last number is one less or one more than that of this one, as people write them."""
    numbers = list(_NUMBER.finditer(password))
    if not numbers:
        return ()
    start, end = numbers[-1].span()
    typed = password[start:end]
    value = int(typed)
    written = {str(value + 1).zfill(len(typed))}
    if value > 0:
        # Before `10` came `9` or `09`.
        less = str(value - 1)
        written |= {less.zfill(len(typed)), less.zfill(len(typed) - len(str(value)) + len(less))}
    return tuple(password[:start] + form + password[end:] for form in sorted(written))


def _without_digits(password: str) -> str:
    normal = normalise_password(password)
    text = password if normal is None else normal
    return "".join(char for char in text if unicodedata.category(char) != "Nd")


def names_in_passwords(username: "Username") -> tuple[str, ...]:
    """What may not stand in this person's password, as letters and digits without case and accents (PW-4).

    "Nada de su usuario ni de su RFC": nor its readable part alone, initials and date without the homoclave.
    """
    name = username.canonical.partition(".")[2] or username.canonical
    named = {_squeeze(username.canonical), _squeeze(name)}
    if username.rfc is not None:
        named.add(_squeeze(username.rfc[:-3]))
    # A staff name may be two letters, which stand in half of all passwords.
    return tuple(sorted(each for each in named if len(each) >= _STEM_LENGTH_MIN))


def names_user(text: str, username: "Username") -> bool:
    """Whether a text has the username or the RFC in it, in any case and spacing."""
    squeezed = _squeeze(text)
    return any(each in squeezed for each in names_in_passwords(username))


def _names_brand(text: str, brand_words: Sequence[str]) -> bool:
    letters = _stems(text) | {_letters(_plain(text))}
    words = {_letters(_plain(part)) for brand in brand_words for part in (brand, *brand.split())}
    # Of a name in several words, those like "de" are nobody's mark.
    return any(len(word) >= _STEM_LENGTH_MIN and word in form for word in words for form in letters)


# -- known passwords -------------------------------------------------------------------------------------------------

# Symbols as keyboards in Mexico and the United States write them above the digits.
_UNSHIFT = (
    str.maketrans("!@#$%^&*()_+", "1234567890-="),
    str.maketrans('!"#$%&/()=?', "1234567890'"),
)
# One symbol stands for two letters in common use, hence two tables.
_LEET = (
    str.maketrans("@4301!|$5789€", "aaeoiiisstbge"),
    str.maketrans("@4301!|$5789£", "aaeolllsstbgl"),
)
_STEM_LENGTH_MIN = 4
_OUTER = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_TAIL = re.compile(r"[\W\d_]+$")
# What is put behind a leaked password that has digits of its own: `Abc123` becomes `Abc1231!` or `Abc123.2026`.
_ADDED = (re.compile(r"[0-9]?[\W_]+$"), re.compile(r"[\W_]+[0-9]{0,4}[\W_]*$"))
_CORE_LENGTH_MIN = 5


def is_known(password: str) -> bool:
    """Whether attackers try it early: a leaked password, a common word or name in its usual disguise (PW-4).

    Lists of leaked passwords hold few that fit our rules; what people do to a common word to satisfy such rules is
    known better: a capital, a digit and a mark at the ends, signs that look like letters, the Shift key along a walk
    over the keyboard. So those are undone, and what remains, *the whole of it*, is looked up: `Dragon.2019`,
    `P@ssw0rd1`, `1qaz!QAZ` and `Enero2027.` are refused, and a phrase that has a common word in it is not.

    The list is zxcvbn's, its 30,000 most leaked passwords and its names, because it is ordered by real frequency, is
    kept up to date with the package and is what most sites' meters use; the words of Mexico that it lacks are in
    `known_passwords.txt`.
    """
    whole, stems = _known()
    plain = _plain(password)
    forms = {plain, *(plain.translate(table) for table in _UNSHIFT)}
    forms |= {"".join(char for char in form if char.isalnum()) for form in tuple(forms)}
    cores = {pattern.sub("", plain) for pattern in _ADDED}
    forms |= {core for core in cores if len(core) >= _CORE_LENGTH_MIN}
    if not whole.isdisjoint(forms | {_half(form) for form in forms}):
        return True
    return not stems.isdisjoint(_stems(password))


def _stems(password: str) -> set[str]:
    plain = _plain(password)
    candidates = {plain, _OUTER.sub("", plain), _TAIL.sub("", plain)}
    found = {_letters(plain)}
    for table in _LEET:
        found |= {_letters(each.translate(table)) for each in candidates}
    found |= {_half(each) for each in found}
    return {stem for stem in found if len(stem) >= _STEM_LENGTH_MIN}


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    # Imported at the first use, so that starting the server or a command does not read it.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    leaked = [_plain(each) for each in FREQUENCY_LISTS["passwords"]]
    words = [*FREQUENCY_LISTS["female_names"], *FREQUENCY_LISTS["male_names"], *FREQUENCY_LISTS["surnames"]]
    ours = files("idp.accounts").joinpath("known_passwords.txt").read_text("utf-8").split()
    stems = {_letters(_plain(each)) for each in (*leaked, *words, *ours)}
    return frozenset(leaked), frozenset(stem for stem in stems if len(stem) >= _STEM_LENGTH_MIN)


def _half(text: str) -> str:
    # Doubling a word makes it longer and no harder to guess.
    middle = len(text) // 2
    return text[:middle] if text and text[:middle] == text[middle:] else text


def _plain(text: str) -> str:
    """Lower-cased, without accents."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in apart if unicodedata.category(char)[0] != "M")


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalpha())


def _squeeze(text: str) -> str:
    return "".join(char for char in _plain(text) if char.isalnum())


# -- secret answers --------------------------------------------------------------------------------------------------


def normalise_answer(text: str) -> str:
    """A secret answer as it is compared (Q-4): without accents and case, punctuation and spaces collapsed to one space.

    What people change without noticing between two typings is gone; the words are not. What is left can be hashed
    like a password, whatever was typed.
    """
    # First apart, since some letters that only look otherwise have no small form of their own.
    plain = _plain(unicodedata.normalize("NFKD", text))
    spaced = "".join(" " if unicodedata.category(char)[0] in "PZC" else char for char in plain)
    # Composed again, since what cannot stand in a password are the parts of Korean letters, alone; those go.
    composed = _DISALLOWED.sub(" ", unicodedata.normalize("NFC", spaced))
    return " ".join(composed.split())
