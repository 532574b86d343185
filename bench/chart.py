"""CPU of one operation as a chart: a row for each kind of work, a mark for each side, on a logarithmic scale."""

from collections.abc import Callable, Mapping
from html import escape
from math import ceil, floor, log10

_LEFT, _WIDTH, _ROW, _TOP = 190, 560, 46, 78
_STYLE = """
text { fill: #24292f; font: 13px system-ui, sans-serif }
.small { font-size: 11px; fill: #57606a }
.value { font-weight: 600 }
.paper { fill: #ffffff }
.line { stroke: #d8dee4; stroke-width: 1 }
.llavero { fill: none; stroke: #0a7a55; stroke-width: 4.5 }
.node-memory { fill: #5b9bd5 }
.node-redis { fill: #2f5f9e }
.django-oauth-toolkit { fill: #c07f1f }
.canaille { fill: #a34d76 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .line { stroke: #30363d }
  .llavero { stroke: #3fd29b }
  .node-memory { fill: #a5cdf3 }
  .node-redis { fill: #6ea0e0 }
  .django-oauth-toolkit { fill: #e3b341 }
  .canaille { fill: #e08bb5 }
}
"""


def _polygon(points: str) -> Callable[[float, float], str]:
    return lambda x, y: f'<polygon transform="translate({x:.1f} {y:.1f})" points="{points}"'


# Told apart by shape too, for whoever does not see the colours.
_SHAPES: dict[str, Callable[[float, float], str]] = {
    "llavero": lambda x, y: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7.5"',
    "node-memory": _polygon("0,-7 7,6 -7,6"),
    "node-redis": _polygon("-7,-6 7,-6 0,7"),
    "django-oauth-toolkit": _polygon("-6,-6 6,-6 6,6 -6,6"),
    "canaille": _polygon("0,-8 8,0 0,8 -8,0"),
}


def _mark(name: str, x: float, y: float, title: str) -> str:
    return f'{_SHAPES[name](x, y)} class="{name}"><title>{escape(title)}</title></{_SHAPES[name](0, 0).split()[0][1:]}>'


def svg(rows: Mapping[str, Mapping[str, float]]) -> str:
    """By the title of each kind of work, milliseconds of each side; sides that are not known here are left out."""
    values = [value for row in rows.values() for value in row.values()]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))

    def place(value: float) -> float:
        return _LEFT + (log10(value) - low) / max(1, high - low) * _WIDTH

    bottom = _TOP + _ROW * len(rows)
    parts, x = list[str](), 20.0
    for name in [name for name in _SHAPES if any(name in row for row in rows.values())]:
        parts.append(_mark(name, x, 24, name) + f'<text x="{x + 14:.0f}" y="28">{name}</text>')
        x += 44 + 7.4 * len(name)
    for power in range(low, high + 1):
        at = place(10.0**power)
        parts.append(f'<line class="line" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 12}" y2="{bottom}"/>')
        parts.append(f'<text class="small" x="{at:.1f}" y="{_TOP - 18}" text-anchor="middle">{10.0**power:g} ms</text>')
    for number, (title, row) in enumerate(rows.items()):
        y = _TOP + _ROW * number + 16
        own = row.get("llavero")
        shown = f"{own:.3f}" if own and own < 0.1 else f"{own:.2f}" if own and own < 10 else f"{own or 0:.0f}"
        parts.append(f'<line class="line" x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 16}" y="{y + 4}" text-anchor="end">{escape(title)}</text>')
        for name in reversed(_SHAPES):
            if name in row:
                parts.append(_mark(name, place(row[name]), y, f"{name}: {row[name]:.3f} ms"))
        if own:
            parts.append(
                f'<text class="small value" x="{place(own):.1f}" y="{y + 22}" text-anchor="middle">{shown}</text>'
            )
    title = (
        "Server CPU of one operation, store included, in milliseconds on a logarithmic scale; further left is better"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 40} {bottom + 12}" role="img">'
        f'<title>{title}</title><style>{_STYLE}</style><rect class="paper" width="100%" height="100%"/>'
        f"{''.join(parts)}</svg>\n"
    )
