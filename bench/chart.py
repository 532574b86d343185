"""A run of `run.py` as a table, as a chart (SVG) and as docs/performance.md.

python -m bench.chart bench/results/bench-….json
"""

import json
import sys
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

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
_COLOURS = {
    "llavero": "#0b6e4f",
    "node-memory": "#8fb8de",
    "node-redis": "#3f6fa5",
    "django-oauth-toolkit": "#c98b2b",
    "canaille": "#9b4d6e",
}
_BEGIN, _END = "<!-- figures: written by bench/chart.py -->", "<!-- end of figures -->"


def columns(record: dict[str, Any]) -> list[str]:
    """Ours first, then the peers that ran."""
    named = [each["side"] for each in record["rounds"] if each["side"] != "llavero"]
    return ["llavero", *dict.fromkeys(named)]


def figures_of(record: dict[str, Any], workload: str, side: str) -> dict[str, float] | None:
    """The medians of a side; of ours over all its rounds, beside whichever peer."""
    here = [each for each in record["rounds"] if each["workload"] == workload and each["side"] == side]
    if not here:
        return None
    return {name: median(each[name] for each in here) for name in ("cpu_ms", "per_second", "p50_ms", "p99_ms")}


def table(record: dict[str, Any]) -> str:
    """Markdown: CPU for each operation, and how many times ours it is in the same run; requests, p50, p99 below."""
    names = columns(record)
    lines = ["Server CPU of one operation in ms, and in brackets how many times ours beside it:", ""]
    lines += ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for workload, title in WORK.items():
        cells = []
        for name in names:
            found = figures_of(record, workload, name)
            cell = "—" if found is None else f"{found['cpu_ms']:.2f}"
            ratio = record["medians"].get(workload, {}).get(name, {}).get("times_ours")
            cells.append(f"{cell} ({ratio:.1f})" if ratio else cell)
        lines.append(f"| {workload} {title} | " + " | ".join(cells) + " |")
    for figure, title in (("memory_mib", "W8 memory idle, MiB"), ("first_answer_s", "W8 first answer, s")):
        cells = []
        for name in names:
            values = [each[figure] for each in record["idle"] if each["side"] == name]
            cells.append(f"{median(values):.{0 if figure == 'memory_mib' else 2}f}" if values else "—")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    if record.get("hash_cpu_ms") and (found := figures_of(record, "W7", "llavero")):
        rest = found["cpu_ms"] - record["hash_cpu_ms"]
        lines += ["", f"Of our W7, {record['hash_cpu_ms']:.1f} ms are the password hash, {rest:.1f} ms the rest."]
    lines += ["", "Operations a second, p50 / p99 of one request in ms:", ""]
    lines += ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for workload in WORK:
        cells = []
        for name in names:
            found = figures_of(record, workload, name)
            shown = (
                "—" if found is None else f"{found['per_second']:.0f}; {found['p50_ms']:.0f} / {found['p99_ms']:.0f}"
            )
            cells.append(shown)
        lines.append(f"| {workload} | " + " | ".join(cells) + " |")
    for what, why in record["missing"].items():
        lines += ["", f"Not measured: {what}: {' '.join(why.split())[:160]}"]
    return "\n".join(lines) + "\n"


def svg(record: dict[str, Any]) -> str:
    """Bars of CPU for each operation, one group for each kind of work, each group to its own scale."""
    names = [name for name in columns(record) if name in _COLOURS]
    left, bar, width, gap = 210, 14, 420, 26
    parts, y = list[str](), 40
    for workload, title in WORK.items():
        found = {name: figures_of(record, workload, name) for name in names}
        shown = {name: figures["cpu_ms"] for name, figures in found.items() if figures is not None}
        if not shown:
            continue
        most = max(shown.values())
        middle = y + len(shown) * (bar + 2) / 2
        parts.append(f'<text x="{left - 12}" y="{middle:.0f}" text-anchor="end">{workload} {escape(title)}</text>')
        for name, value in shown.items():
            length = max(1.0, value / most * width)
            parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{_COLOURS[name]}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{y + bar - 3}" font-size="11">{value:.2f}</text>')
            y += bar + 2
        y += gap - 2
    x = left
    legend = []
    for name in names:
        legend.append(f'<rect x="{x}" y="12" width="12" height="12" fill="{_COLOURS[name]}"/>')
        legend.append(f'<text x="{x + 16}" y="22" font-size="11">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    title = "Server CPU of one operation in milliseconds; shorter is better; each group to its own scale"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(720, x)} {y}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13"><title>{title}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(legend + parts)}</svg>\n'
    )


def write_docs(record: dict[str, Any]) -> None:
    """The figures of docs/performance.md between their two marks, and the chart beside it."""
    page = ROOT / "docs" / "performance.md"
    (ROOT / "docs" / "performance.svg").write_text(svg(record))
    machine = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    head = (
        f"Taken {machine['at'][:10]} on {machine['cores']} cores and {machine['memory_gib']:g} GiB, load average "
        f"{machine['load_average']:.0f} at the end; Python {machine['python']}, Node.js {machine['node']}, {versions}; "
        f"{record['rounds_each']} rounds of {record['seconds_each']:g} s, medians.\n\n"
    )
    before, _, rest = page.read_text().partition(_BEGIN)
    page.write_text(before + _BEGIN + "\n\n" + head + table(record) + "\n" + _END + rest.partition(_END)[2])


if __name__ == "__main__":
    write_docs(json.loads(Path(sys.argv[1]).read_text()))
