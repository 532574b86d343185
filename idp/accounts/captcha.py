"""Issue a CAPTCHA challenge and take its answer once (security.md C-2 to C-6).

A challenge is its handle: a slot, 128 random bits and a mark that ties both to one browser. Characters, digits and
the noise of image and sound are derived from handle and key, so that the answer is stored nowhere, hashed or not, and
asking for an image again shows the same one: there is nothing to average the noise away with. The store knows only
which handle each of a browser's slots holds, and which handles have been answered.
"""

import base64
import hashlib
import hmac
import ipaddress
import secrets
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

from idp import meters, policy
from idp.accounts.attempts import CaptchaAnswer
from idp.accounts.errors import AddressThrottled, CaptchaProblem, CaptchaRefused
from idp.captcha_media.image import ALPHABET, draw
from idp.captcha_media.sound import speak
from idp.ephemeral import Ephemeral
from idp.places import aside

_LIVE = "captcha"
_ANSWERED = "captcha_answered"
_SLOTS = "captcha_slots"
_ISSUED = "captcha_issued"
_WRONG = "captcha_wrong"
_WAIT = "captcha_wait"
_RENDERED = "captcha_rendered"

_NONCE_BYTES = 16
_MARK_BYTES = 16
_HANDLE_LENGTH = 44
_TEXT_LENGTH_MAX = 64
_IPV6_NETWORK = 64

_IMAGES_KEPT = 64
_SOUNDS_KEPT = 16
"""Of each worker: about 3 MB. A browser that asks for the same one again and again costs no drawing (C-5)."""


class Captcha:
    """The challenges of every browser. `key` derives answers; whoever has it has them all.

    Every method that is given `now` may raise `StoreUnavailable`.
    """

    def __init__(self, ephemeral: Ephemeral, key: bytes) -> None:
        self._ephemeral = ephemeral
        self._key = key
        self._images = _Kept(_IMAGES_KEPT)
        self._sounds = _Kept(_SOUNDS_KEPT)

    def issue(self, browser: str, now: datetime, *, address: str | None = None) -> str:
        """A new challenge for this browser; its oldest dies where it has `policy.CAPTCHA_LIVE_MAX` already.

        Refuses `AddressThrottled` where `address` has asked for too many.
        """
        if address is not None:
            issued = self._ephemeral.hit(_ISSUED, _network(address), policy.CAPTCHA_ISSUED_WINDOW, now=now)
            if issued > policy.CAPTCHA_ISSUED_MAX:
                raise AddressThrottled(policy.CAPTCHA_ISSUED_WINDOW)
        # As many slots as challenges may live, taken in turn: no race can leave more of them.
        turn = self._ephemeral.hit(_SLOTS, browser, policy.SESSION_ABSOLUTE_LIFETIME, now=now)
        slot = turn % policy.CAPTCHA_LIVE_MAX
        body = bytes([slot]) + secrets.token_bytes(_NONCE_BYTES)
        handle = base64.urlsafe_b64encode(body + self._mark(browser, body)).decode()
        self._ephemeral.put(_LIVE, f"{browser}/{slot}", _digest(handle), policy.CAPTCHA_LIFETIME, now=now)
        meters.count(meters.Counted.CAPTCHA, "issued")
        return handle

    def is_open(self, browser: str, handle: str, now: datetime) -> bool:
        """Whether this browser may still answer this challenge. Nothing changes."""
        slot = self._slot(browser, handle)
        return slot is not None and self._ephemeral.get(_LIVE, f"{browser}/{slot}", now=now) == _digest(handle)

    def take(self, browser: str | None, answer: CaptchaAnswer | None, now: datetime) -> None:
        """Return for the right answer to an open challenge of this browser, which ends here, right or wrong.

        Characters and digits are equally good. Refuses `CaptchaRefused`: `REQUIRED` where nothing was typed, `WRONG`
        also for a handle that is not this browser's, `EXPIRED` for one that was answered, superseded or is too old.
        Refuses `AddressThrottled` while the browser waits for having been wrong too often; nothing ends then.
        """
        if browser is None or answer is None or not answer.text.strip():
            raise CaptchaRefused(CaptchaProblem.REQUIRED)
        until = self._ephemeral.get(_WAIT, browser, now=now)
        if until is not None:
            raise AddressThrottled(max(datetime.fromisoformat(until) - now, timedelta()))
        slot = self._slot(browser, answer.handle)
        if slot is None:
            raise self._wrong(browser, now)
        if not self.is_open(browser, answer.handle, now):
            raise CaptchaRefused(CaptchaProblem.EXPIRED)
        # Of any number of requests at once, one goes past this line.
        if not self._ephemeral.claim(_ANSWERED, answer.handle, policy.CAPTCHA_LIFETIME, now=now):
            raise CaptchaRefused(CaptchaProblem.EXPIRED)
        # Where five newer ones came between, this ends the newest of them, and the person gets another.
        self._ephemeral.drop(_LIVE, f"{browser}/{slot}")
        if not self._is_right(answer):
            raise self._wrong(browser, now)
        meters.count(meters.Counted.CAPTCHA, "right")

    def characters(self, handle: str) -> str:
        """What the image shows. Whoever asks must not be a browser."""
        number = int.from_bytes(self._derive(b"characters", handle), "big")
        characters = ""
        for _ in range(policy.CAPTCHA_LENGTH):
            number, place = divmod(number, len(ALPHABET))
            characters += ALPHABET[place]
        return characters

    def digits(self, handle: str) -> str:
        """What the sound says. Whoever asks must not be a browser."""
        number = int.from_bytes(self._derive(b"digits", handle), "big") % 10**policy.CAPTCHA_DIGITS
        return f"{number:0{policy.CAPTCHA_DIGITS}d}"

    def image(self, handle: str, now: datetime) -> bytes:
        """The characters as a PNG, the same one each time. Ask `is_open` first.

        Refuses `AddressThrottled` where it had to be drawn `policy.CAPTCHA_RENDERED_MAX` times already.
        """

        def render() -> bytes:
            self._count_rendering("image", handle, now)
            with aside():
                return draw(self.characters(handle), self._derive(b"image", handle))

        return self._images.get(handle, render)

    def sound(self, handle: str, language: str, now: datetime) -> bytes:
        """The digits as a WAV in `language`, `es-MX` or `en`, the same one each time. As `image` otherwise."""

        def render() -> bytes:
            self._count_rendering("sound", handle, now)
            with aside():
                return speak(self.digits(handle), language, self._derive(b"sound", handle))

        return self._sounds.get(f"{handle} {language}", render)

    def _count_rendering(self, kind: str, handle: str, now: datetime) -> None:
        """Who keeps more challenges than are remembered, and asks for them in turn, is not drawn for without end."""
        rendered = self._ephemeral.hit(_RENDERED, f"{kind} {handle}", policy.CAPTCHA_LIFETIME, now=now)
        if rendered > policy.CAPTCHA_RENDERED_MAX:
            raise AddressThrottled(policy.CAPTCHA_LIFETIME)

    def _is_right(self, answer: CaptchaAnswer) -> bool:
        text = "".join(answer.text[:_TEXT_LENGTH_MAX].split()).upper().encode()
        by_eye = hmac.compare_digest(text, self.characters(answer.handle).encode())
        by_ear = hmac.compare_digest(text, self.digits(answer.handle).encode())
        return by_eye or by_ear

    def _wrong(self, browser: str, now: datetime) -> CaptchaRefused:
        meters.count(meters.Counted.CAPTCHA, "wrong")
        wrong = self._ephemeral.hit(_WRONG, browser, policy.CAPTCHA_WRONG_WINDOW, now=now)
        if wrong >= policy.CAPTCHA_WRONG_MAX:
            until = now + policy.CAPTCHA_WRONG_WAIT
            self._ephemeral.put(_WAIT, browser, until.isoformat(), policy.CAPTCHA_WRONG_WAIT, now=now)
        return CaptchaRefused(CaptchaProblem.WRONG)

    def _slot(self, browser: str, handle: str) -> int | None:
        """The slot of a handle that was issued to this browser, ever; None for any other."""
        if len(handle) != _HANDLE_LENGTH or not handle.isascii():
            return None
        try:
            raw = base64.b64decode(handle, altchars=b"-_", validate=True)
        except ValueError:
            return None
        body, mark = raw[:-_MARK_BYTES], raw[-_MARK_BYTES:]
        return body[0] if hmac.compare_digest(mark, self._mark(browser, body)) else None

    def _mark(self, browser: str, body: bytes) -> bytes:
        return self._derive(b"handle", browser, body)[:_MARK_BYTES]

    def _derive(self, purpose: bytes, name: str, more: bytes = b"") -> bytes:
        # Lengths first, so that no two different inputs are one text.
        parts = (purpose, name.encode(), more)
        message = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)


class _Kept:
    """What was made last, by its key."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._lock = threading.Lock()
        self._made: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What is kept under `key`, or else what `make` gives, which takes the place of what was used longest ago."""
        with self._lock:
            found = self._made.get(key)
            if found is not None:
                self._made.move_to_end(key)
                return found
        made = make()
        with self._lock:
            self._made[key] = made
            while len(self._made) > self._length:
                self._made.popitem(last=False)
        return made


def _digest(handle: str) -> str:
    return hashlib.sha256(handle.encode()).hexdigest()


def _network(address: str) -> str:
    """What counts as one address: of IPv6, which comes in networks, the network."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_NETWORK), strict=False))
    return str(parsed)
