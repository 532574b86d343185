"""How a log record is written: one line, JSON or for people, with the id of its request, without a secret.

What is logged never holds a secret to begin with (security.md O-2); here is what no call can promise by itself. A
line break or an escape in a text stays inside its record; a record ends somewhere; and the *texts* of exceptions,
which may repeat what somebody typed, are left out where the issuer is not this machine: the type and the places in
the code remain.
"""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from idp import audit

LENGTH_MAX = 8 * 1024
"""Characters of a text in a record; a traceback has as many again."""

# C0 and C1 controls, and what some viewers take for a line break.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class RequestId(logging.Filter):
    """Gives each record the id of the request or the turn of a job in which it was written; see `audit.origin`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = audit.origin.get().request_id or ""
        return True


class _Lines(logging.Formatter):
    """What both forms share."""

    def __init__(self, *, shows_texts: bool) -> None:
        super().__init__()
        self._shows_texts = shows_texts

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802  # the standard library's name
        error = ei[1]
        if error is None:
            return ""
        if self._shows_texts:
            return "".join(traceback.format_exception(error))
        lines = []
        seen: set[int] = set()
        cause: BaseException | None = error
        while cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            frames = traceback.format_list(traceback.extract_tb(cause.__traceback__))
            lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}\n{''.join(frames)}")
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        return "caused by ".join(lines)

    def _text(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return text if len(text) <= LENGTH_MAX else f"{text[:LENGTH_MAX]}… ({len(text)} characters)"

    def _exception(self, record: logging.LogRecord) -> str:
        found = self.formatException(record.exc_info) if record.exc_info else ""
        return found if len(found) <= LENGTH_MAX else f"…{found[-LENGTH_MAX:]}"


class JsonLines(_Lines):
    """One JSON object a line: time, level, logger, message; request_id, exception and further fields where given."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._text(record),
        }
        request_id = getattr(record, "request_id", "")
        if request_id:
            line["request_id"] = request_id
        line.update(getattr(record, "fields", {}))
        exception = self._exception(record)
        if exception:
            line["exception"] = exception
        # ASCII: escapes every control character too, C1 and line separators among them.
        return json.dumps(line, default=str)


class ConsoleLines(_Lines):
    """For people: the same in one line, a traceback in those after it, indented."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        request_id = getattr(record, "request_id", "")
        mark = f" [{request_id}]" if request_id else ""
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{moment} {record.levelname} {record.name}{mark} {_escaped(self._text(record))}{fields}"
        exception = self._exception(record)
        return "\n".join([line, *(f"    {_escaped(each)}" for each in exception.splitlines())])


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def configure(form: str, *, shows_texts: bool) -> None:
    """Write this process' log to standard error as `form`, `console` or `json`. Calling it again changes the form.

    `shows_texts`: with the texts of exceptions.
    """
    kind = JsonLines if form == "json" else ConsoleLines
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(kind(shows_texts=shows_texts))
    handler.addFilter(RequestId())
    root = logging.getLogger()
    for each in [each for each in root.handlers if any(isinstance(one, RequestId) for one in each.filters)]:
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # Alembic tells each start which database it has met.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.captureWarnings(True)
