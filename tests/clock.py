"""A clock for a whole server, moved from outside: PyPI's libfaketime by the recipe of security.md section 7."""

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path


class MovableClock:
    """What the processes that live by it take for the time. Runs like the real one until it is moved or stopped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "clock"
        self.move(timedelta(0))

    def environment(self) -> dict[str, str]:
        """What a process needs to live by this clock. Durations stay true: the monotonic clock is left alone."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }

    def move(self, ahead: timedelta) -> None:
        """Run on, this far ahead of the real time."""
        self.is_moved = bool(ahead)
        self._write(f"{ahead.total_seconds():+.3f}")

    def stop_at(self, instant: datetime) -> None:
        """Stand still at `instant`, a whole second."""
        self.is_moved = True
        self._write(instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"))

    def _write(self, text: str) -> None:
        # Whole or not at all: a process may be reading it.
        partial = self._file.with_name("clock.part")
        partial.write_text(text + "\n")
        partial.replace(self._file)


def _library() -> Path:
    spec = find_spec("libfaketime")
    assert spec is not None
    assert spec.origin is not None
    # Importing it would start this very process anew under the library.
    return Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
