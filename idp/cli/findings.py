"""One line of `idp doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do where it is not well."""

    level: str
    part: str
    text: str
    remedy: str = ""


Findings = Iterator[Finding]
