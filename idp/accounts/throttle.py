"""How much one address may try, beside the lock of each name."""

import math
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from sqlalchemy import Connection

from idp import policy
from idp.accounts.errors import AddressThrottled
from idp.ephemeral import Ephemeral

_FAILURES = "address_failures"
_REMINDERS = "address_reminders"
_IPV6_PREFIX = 64  # what one customer of a provider has at least, and may fill as they like


class AddressThrottle:
    """Failed attempts of each address in a fixed window, over all names (L-7). No address is never throttled.

    An attempt is counted before it is compared, like that of the lock, and given back when it was no failure; nothing
    else refills the window. Refusals are `AddressThrottled`, with the rest of the window.
    """

    def __init__(self, ephemeral: Ephemeral) -> None:
        self._ephemeral = ephemeral

    def check(self, address: str | None, now: datetime) -> None:
        """Refuse as `check_and_count` would, and count nothing: before a CAPTCHA is spent."""
        source = _source(address)
        if source is not None:
            hits = self._ephemeral.hits(_FAILURES, source, now=now)
            if hits is not None and hits.count >= policy.ADDRESS_FAILURES_MAX:
                raise AddressThrottled(_until(hits.ends_at, now))

    def check_and_count(self, address: str | None, now: datetime, *, tx: Connection | None = None) -> None:
        """Count an attempt that is going to be compared. What is refused is not counted: by the rollback of `tx`, or
        here where the count does not join it."""
        self._count(_FAILURES, address, policy.ADDRESS_FAILURES_MAX, now, tx)

    def give_back(self, address: str | None, now: datetime, *, tx: Connection | None = None) -> None:
        """The attempt that was counted was no failure."""
        source = _source(address)
        if source is not None:
            self._ephemeral.hit(_FAILURES, source, policy.ADDRESS_WINDOW, now=now, step=-1, tx=tx)

    def count_reminder(self, address: str | None, now: datetime) -> None:
        """Count one request for a reminder, whoever it is for."""
        self._count(_REMINDERS, address, policy.ADDRESS_REMINDERS_MAX, now, None)

    def _count(self, kind: str, address: str | None, most: int, now: datetime, tx: Connection | None) -> None:
        source = _source(address)
        if source is None or self._ephemeral.hit(kind, source, policy.ADDRESS_WINDOW, now=now, tx=tx) <= most:
            return
        if tx is None or not self._ephemeral.joins(kind):
            self._ephemeral.hit(kind, source, policy.ADDRESS_WINDOW, now=now, step=-1)
        raise AddressThrottled(self._rest(kind, source, now))

    def _rest(self, kind: str, source: str, now: datetime) -> timedelta:
        hits = self._ephemeral.hits(kind, source, now=now)
        return policy.ADDRESS_WINDOW if hits is None else _until(hits.ends_at, now)


def _until(end: datetime, now: datetime) -> timedelta:
    return timedelta(seconds=math.ceil((end - now).total_seconds()))


def _source(address: str | None) -> str | None:
    """What is counted as one: an IPv4 address, also written as an IPv6 one, or an IPv6 network of one customer."""
    if not address:
        return None
    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), _IPV6_PREFIX), strict=False))


__all__ = ["AddressThrottle"]
