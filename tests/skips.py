"""A pytest plugin: with CI=true, a test that skips itself fails, so that a missing part cannot pass for a green run.

So does one that is expected to fail: what is known to be broken is no green run, either. A skip whose reason begins
with "optional:" stands: it is for what no CI is promised to have.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

OPTIONAL = "optional:"


def is_failure(reason: str, *, ci: bool) -> bool:
    """Whether a skip for `reason` counts as a failure."""
    return ci and not reason.startswith(OPTIONAL)


def _is_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"true", "1"}


def _judge(report: Any) -> None:
    if not report.skipped:
        return
    if hasattr(report, "wasxfail"):
        if _is_ci():
            report.outcome = "failed"
            report.longrepr = f"With CI=true nothing may be expected to fail: {report.wasxfail}"
            del report.wasxfail
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if is_failure(reason, ci=_is_ci()):
        report.outcome = "failed"
        report.longrepr = f"With CI=true nothing may be skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    report = yield
    _judge(report)
    return report
