"""What a run of the bench is told as: ratios, targets, what was limited or left out, the chart."""

from typing import Any
from xml.etree import ElementTree

from bench import chart, report


def figures(work: str, side: str, *cpu_ms: float, share: float = 0.2) -> list[dict[str, Any]]:
    """A round for each of these."""
    rest = {"per_second": 1000.0, "p50_ms": 5.0, "p99_ms": 20.0, "generator_share": share}
    return [{"workload": work, "side": side, "cpu_ms": value, **rest} for value in cpu_ms]


def record(*rounds: dict[str, Any], **more: Any) -> dict[str, Any]:
    idle = {"memory_mib": 150.0, "resident_mib": 250.0, "after_load_mib": 160.0, "first_answer_s": 0.8}
    sides = dict.fromkeys(each["side"] for each in rounds)
    base = {"kind": "peers", "rounds": list(rounds), "idle": {side: dict(idle) for side in sides}}
    return {**base, "besides_hash_cpu_ms": {}, "missing": {}, **more}


def test_cpu_is_the_median_of_the_rounds_and_the_ratio_that_to_ours() -> None:
    text = report.text(record(*figures("W1", "llavero", 0.4, 0.5, 9.0), *figures("W1", "node-redis", 1.0, 1.0, 7.0)))

    assert "| W1 client_credentials | 0.50 | 1.00 (2.0) |" in text
    assert "- below node over Redis: held." in text


def test_a_target_that_is_missed_says_where_and_by_how_much() -> None:
    rounds = [*figures("W1", "llavero", 0.4), *figures("W2", "llavero", 2.0)]
    peers = [*figures("W1", "node-redis", 0.5), *figures("W2", "node-redis", 1.5)]

    assert "- below node over Redis: missed at W2 (0.75)." in report.text(record(*rounds, *peers))


def test_what_is_not_the_hash_is_told_of_whoever_could_be_measured_without() -> None:
    rounds = [*figures("W7", "llavero", 30.0), *figures("W7", "canaille", 50.0)]

    text = report.text(record(*rounds, besides_hash_cpu_ms={"llavero": 2.54}))

    assert "| W7 besides the hash | 2.5 | — |" in text
    assert "- of W7, less than 3 ms besides the hash: 2.5 ms." in text


def test_a_generator_at_its_end_is_named_and_one_that_is_not_is_said_to_be_none() -> None:
    assert "¹ where it was the limit" in report.text(record(*figures("W6", "llavero", 0.1, share=0.95)))
    assert "it was never the limit" in report.text(record(*figures("W6", "llavero", 0.1, share=0.85)))


def test_who_is_missing_is_named_with_the_reason() -> None:
    text = report.text(record(*figures("W1", "llavero", 0.4), missing={"canaille": "no venv"}))

    assert "Not measured: canaille: no venv." in text


def test_a_filled_store_is_told_as_a_multiple_of_the_empty_one() -> None:
    rounds = [*figures("W3", "SQLite empty", 0.5), *figures("W3", "SQLite filled", 0.6)]
    store = {"accounts": 100_000, "clients": 1_000, "tokens": 5_000_000}

    text = report.text(record(*rounds, kind="filled", store=store))

    assert "100 000 accounts, 1 000 clients and 5 000 000 tokens" in text
    assert "| W3 refresh with rotation | 0.500 | 0.600 | 1.20 |" in text


def test_the_chart_has_a_mark_for_each_figure_further_right_where_more_was_used() -> None:
    drawn = ElementTree.fromstring(chart.svg({"W1 a & b": {"llavero": 0.05, "node-memory": 0.4, "canaille": 9.0}}))
    space = "{http://www.w3.org/2000/svg}"

    titles = [each.text for each in drawn.iter(f"{space}title")]
    assert {"llavero: 0.050 ms", "node-memory: 0.400 ms", "canaille: 9.000 ms"} <= set(titles)
    marks = {
        each.get("class"): float(str(each.get("transform"))[10:].split()[0]) for each in drawn.iter(f"{space}polygon")
    }
    circles = [float(str(each.get("cx"))) for each in drawn.iter(f"{space}circle")]
    assert circles[-1] < marks["node-memory"] < marks["canaille"]
