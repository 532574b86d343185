"""What runs on a clock: today the sweep of what is over."""

import logging
import threading
from datetime import UTC, datetime

from idp import policy
from idp.db import StoreUnavailable
from idp.wiring import Services

_log = logging.getLogger(__name__)


def run(services: Services, stop: threading.Event) -> None:
    """Sweep until `stop` is set. A store that does not answer is tried again at the next turn."""
    while True:
        sweep_once(services, datetime.now(UTC))
        if stop.wait(policy.SWEEP_INTERVAL.total_seconds()):
            return


def sweep_once(services: Services, now: datetime) -> dict[str, int]:
    """Delete what is over at `now`; how many rows of each kind went, none where the store is away."""
    try:
        gone = services.sweep(now)
    except StoreUnavailable:
        _log.warning("sweep: the store does not answer")
        return {}
    _log.info("swept %s", ", ".join(f"{kind} {count}" for kind, count in gone.items()))
    return gone
