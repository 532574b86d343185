"""A run of `run.py` as words: a table, whether the targets hold, docs/performance.md.

python -m bench.report bench/results/peers-….json [bench/results/filled-….json]
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench import chart
from tests.serving import ROOT

WORK = {
    "W1": "client_credentials",
    "W2": "authorize, code, token",
    "W3": "refresh with rotation",
    "W4": "introspection",
    "W5": "userinfo",
    "W6": "discovery and JWKS",
    "W7": "password sign-in",
}
LIMIT = 0.9
"""Above this share of a core the load generator, which has one thread, was what limited."""
_FIGURES = ("cpu_ms", "per_second", "p50_ms", "p99_ms", "generator_share")
_PYTHON_PEERS = ("django-oauth-toolkit", "canaille")


def sides_of(record: dict[str, Any]) -> list[str]:
    """In the order in which they were started."""
    return list(record["idle"])


def medians(record: dict[str, Any], work: str, side: str) -> dict[str, float] | None:
    """The medians of a side's rounds at this work."""
    here = [each for each in record["rounds"] if each["workload"] == work and each["side"] == side]
    if not here:
        return None
    return {name: median(each[name] for each in here) for name in _FIGURES}


def ratio(record: dict[str, Any], work: str, side: str, to: str) -> float | None:
    """CPU of an operation of `side` as a multiple of that of `to`, in the same run."""
    own, other = medians(record, work, side), medians(record, work, to)
    return own["cpu_ms"] / other["cpu_ms"] if own and other else None


def text(record: dict[str, Any]) -> str:
    """The whole of it, as Markdown."""
    if record["kind"] == "filled":
        return _filled(record)
    lines = ["Server CPU of one operation in ms; in brackets, how many times ours it is:", ""]
    lines += _cpu_table(record)
    lines += ["", "Operations a second; p50 / p99 of one request in ms:", "", *_rate_table(record)]
    lines += ["", *_targets(record), "", *_remarks(record)]
    return "\n".join(lines) + "\n"


def _rows(head: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> list[str]:
    lines = ["| | " + " | ".join(head) + " |", "|---" + "|---:" * len(head) + "|"]
    return lines + [f"| {title} | " + " | ".join(cells) + " |" for title, cells in rows]


def _cpu_table(record: dict[str, Any]) -> list[str]:
    names = sides_of(record)

    def cell(work: str, name: str) -> str:
        found, times = medians(record, work, name), ratio(record, work, name, names[0])
        if found is None:
            return "—"
        shown = f"{found['cpu_ms']:.{3 if found['cpu_ms'] < 0.1 else 2 if found['cpu_ms'] < 10 else 1}f}"
        return f"{shown} ({times:.{1 if times < 10 else 0}f})" if times and name != names[0] else shown

    rows = [
        (f"{work} {title}", [cell(work, name) for name in names])
        for work, title in WORK.items()
        if any(medians(record, work, name) for name in names)
    ]
    if besides := record["besides_hash_cpu_ms"]:
        rows.append(("W7 besides the hash", [f"{besides[name]:.1f}" if name in besides else "—" for name in names]))
    for figure, title, digits in (
        ("memory_mib", "W8 memory idle, MiB", 0),
        ("resident_mib", "W8 the same as resident size", 0),
        ("after_load_mib", "memory after all the work, MiB", 0),
        ("first_answer_s", "W8 first answer after, s", 2),
    ):
        rows.append((title, [f"{record['idle'][name].get(figure, 0):.{digits}f}" for name in names]))
    return _rows(names, rows)


def _rate_table(record: dict[str, Any]) -> list[str]:
    names = sides_of(record)

    def cell(work: str, name: str) -> str:
        found = medians(record, work, name)
        if found is None:
            return "—"
        limited = " ¹" if found["generator_share"] > LIMIT else ""
        return f"{found['per_second']:.0f}{limited}; {found['p50_ms']:.1f} / {found['p99_ms']:.0f}"

    return _rows(
        names,
        [
            (work, [cell(work, name) for name in names])
            for work in WORK
            if any(medians(record, work, name) for name in names)
        ],
    )


def _targets(record: dict[str, Any]) -> list[str]:
    """Each target, and where it is missed."""
    ours = sides_of(record)[0]
    machine_work = [work for work in list(WORK)[:6] if medians(record, work, ours)]

    def judge(title: str, misses: Callable[[str], str]) -> str:
        missed = [f"{work} {words}" for work in machine_work if (words := misses(work))]
        return f"- {title}: {'missed at ' + ', '.join(missed) if missed else 'held'}."

    def against(peer: str, at_least: float) -> Callable[[str], str]:
        def misses(work: str) -> str:
            times = ratio(record, work, peer, ours)
            return f"({times:.2f})" if times is not None and times < at_least else ""

        return misses

    lines = ["Targets, by CPU of an operation (in brackets the peer's as a multiple of ours):", ""]
    for peer, at_least, title in (
        ("node-redis", 1.0, "below node over Redis"),
        ("node-memory", 1.0, "at or below node in memory"),
        *((peer, 10.0, f"a tenth of {peer}") for peer in _PYTHON_PEERS),
    ):
        if peer in record["idle"]:
            lines.append(judge(title, against(peer, at_least)))
    idle = record["idle"][ours]
    lines.append(
        f"- two workers under 160 MiB, first answer within a second: {idle['memory_mib']:.0f} MiB, "
        f"{idle['first_answer_s']:.2f} s."
    )
    besides = record["besides_hash_cpu_ms"].get(ours)
    if besides is not None:
        lines.append(f"- of W7, less than 3 ms besides the hash: {besides:.1f} ms.")
    return lines


def _remarks(record: dict[str, Any]) -> list[str]:
    """What limits the figures."""
    shares = [(each["generator_share"], each) for each in record["rounds"]]
    share, most = max(shares, key=lambda pair: pair[0], default=(0.0, {}))
    lines = []
    if most:
        lines.append(
            f"The load generator took at most {share:.0%} of one core ({most['workload']}, {most['side']}); "
            f"{'¹ where it was the limit.' if share > LIMIT else 'it was never the limit.'}"
        )
    return lines + [f"Not measured: {what}: {' '.join(why.split())[:160]}." for what, why in record["missing"].items()]


def _filled(record: dict[str, Any]) -> str:
    """Each kind of database: filled against empty."""
    store = record["store"]
    lines = [
        f"Server CPU of one operation in ms, with {store['accounts']:,} accounts, {store['clients']:,} clients and "
        f"{store['tokens']:,} tokens in the store against next to none:".replace(",000", " 000"),
        "",
    ]
    kinds = dict.fromkeys(name.partition(" ")[0] for name in sides_of(record))
    head = [words for kind in kinds for words in (f"{kind} empty", "filled", "ratio", "p99 empty", "p99 filled")]
    rows = []
    for work, title in WORK.items():
        cells = []
        for kind in kinds:
            empty, filled = (medians(record, work, f"{kind} {suffix}") for suffix in ("empty", "filled"))
            if empty and filled:
                cells += [f"{empty['cpu_ms']:.3f}", f"{filled['cpu_ms']:.3f}"]
                cells += [f"{filled['cpu_ms'] / empty['cpu_ms']:.2f}"]
                cells += [f"{empty['p99_ms']:.0f}", f"{filled['p99_ms']:.0f}"]
            else:
                cells += ["—"] * 5
        if set(cells) != {"—"}:
            rows.append((f"{work} {title}", cells))
    lines += [*_rows(head, rows), "", *_remarks(record)]
    return "\n".join(lines) + "\n"


def _taken(record: dict[str, Any]) -> str:
    machine = record["machine"]
    versions = {"Python": machine["python"], **machine["versions"], **machine["tools"], **machine["peers"]}
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"Taken {machine['at'][:10]} on {machine['cores']} cores ({machine['cpu']}) and {machine['memory_gib']:g} GiB, "
        f"load average {machine['load_before']:.1f} before; medians of {record['rounds_each']} rounds of "
        f"{record['seconds_each']:g} s each; generator {machine['generator']}; {listed}."
    )


def write_docs(record: dict[str, Any]) -> None:
    """The figures of docs/performance.md between their two marks, and the chart of a run with peers."""
    page = ROOT / "docs" / "performance.md"
    kind = record["kind"]
    begin, end = f"<!-- {kind}: written by bench/report.py -->", f"<!-- end of {kind} -->"
    before, found, rest = page.read_text().partition(begin)
    if not found:
        raise ValueError(f"docs/performance.md has no {begin}")
    page.write_text(
        before + begin + "\n\n" + _taken(record) + "\n\n" + text(record) + "\n" + end + rest.partition(end)[2]
    )
    if kind == "peers":
        values = {
            f"{work} {title}": {
                name: found["cpu_ms"] for name in sides_of(record) if (found := medians(record, work, name))
            }
            for work, title in WORK.items()
        }
        (ROOT / "docs" / "performance.svg").write_text(chart.svg({title: row for title, row in values.items() if row}))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write_docs(json.loads(Path(argument).read_text()))
