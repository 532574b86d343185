"""Requests for each second of server CPU at the token endpoint: ours against the pattern in Authlib's documentation.

All sides run at once on loopback, each with its own SQLite file, and are loaded in turn (A B C A B C) by the same
generator, so that whatever else the machine does meets all alike. Authlib's pattern runs twice: with the threads of
`idp serve`, which is the comparison that `--at-least` judges, and with the fewer threads at which it did best here,
since threads that only wait for SQLite's lock cost it CPU; that ratio is printed beside.

CPU seconds are those of the server's whole process tree; the generator's are measured too and shown. Every answer of
every round is checked: status, JSON, signature, claims, that no token came twice, and that the server wrote a row for
it.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NoReturn
from urllib.request import urlopen

from joserfc import jwt
from joserfc.jwk import ECKey

from bench import baseline_authlib, generator
from bench.generator import Plan, Request, load, read_answers
from tests.serving import (
    ROOT,
    clean_environment,
    cpu_seconds,
    free_port,
    provider_in,
    start_server,
    stop_server,
    wait_until_it_answers,
)

SCOPE = "api:read"
AUDIENCE = "https://api.example"
FORM = f"grant_type=client_credentials&scope={SCOPE}"
RESULTS = ROOT / "bench" / "results"


@dataclass(frozen=True, slots=True)
class Side:
    """A running server, and how to ask it for a token."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    authorization: str
    issuer: str
    database: Path
    rows: str
    """The statement that counts what the server wrote for its tokens."""

    def fail(self, reason: str) -> NoReturn:
        """End the run with the last that the server wrote."""
        log = (self.database.parent / "server.log").read_text(errors="replace")
        raise SystemExit(f"{self.name} {reason}\n{log[-4000:]}")

    def cpu_seconds(self) -> float:
        """What the whole process tree has used so far."""
        return sum(cpu_seconds(self.process).values())

    def count_rows(self) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return int(connection.execute(self.rows).fetchone()[0])

    def find_key(self) -> ECKey:
        """The one ES256 key of its JWKS that signs."""
        with urlopen(f"http://127.0.0.1:{self.port}/oauth/jwks", timeout=5) as answer:
            keys = [key for key in json.load(answer)["keys"] if key.get("alg") == "ES256"]
        return ECKey.import_key(keys[0])


@dataclass(frozen=True, slots=True)
class Round:
    """What one load of one side gave."""

    side: str
    requests: int
    seconds: float
    server_cpu: float
    generator_cpu: float
    p50_ms: float
    p99_ms: float
    rows: int

    @property
    def per_cpu_second(self) -> float:
        return self.requests / self.server_cpu

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


@contextmanager
def ours(folder: Path, workers: int) -> Iterator[Side]:
    """`idp serve` as an operator starts it."""
    with provider_in(folder) as provider:
        client = provider.add_client(
            *("bench", "https://cliente.example/regreso", "--grant", "client_credentials", "--scope", SCOPE),
            *("--resource", AUDIENCE),
        )
        provider.start(workers=workers)
        assert provider.process is not None
        yield Side(
            "llavero",
            provider.port,
            provider.process,
            basic(client.client_id, client.client_secret),
            provider.issuer,
            provider.database,
            "SELECT count(*) FROM audit_event WHERE event = 'client:token:issue'",
        )


@contextmanager
def authlib_pattern(folder: Path, workers: int, threads: int) -> Iterator[Side]:
    """The yardstick under the same production server, with the same workers and threads."""
    folder.mkdir()
    client_id, client_secret = baseline_authlib.prepare(folder)
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "granian", "bench.baseline_authlib:from_environment", "--factory"),
        *("--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--no-ws"),
        *("--workers", str(workers), "--blocking-threads", str(threads), "--log-level", "warning"),
    ]
    with (folder / "server.log").open("ab") as log:
        environment = clean_environment({"BENCH_FOLDER": str(folder), "BENCH_ISSUER": issuer})
        process = start_server(command, folder=folder, environment=environment, log=log)
    try:
        wait_until_it_answers(f"{issuer}/oauth/jwks", process, folder / "server.log")
        yield Side(
            f"authlib-{threads}",
            port,
            process,
            basic(client_id, client_secret),
            issuer,
            folder / "authlib.db",
            "SELECT count(*) FROM oauth2_token",
        )
    finally:
        stop_server(process)


def basic(client_id: str, client_secret: str) -> str:
    return "Basic " + b64encode(f"{client_id}:{client_secret}".encode()).decode()


def measure(side: Side, connections: int, seconds: float, folder: Path, seen: set[str]) -> Round:
    """Load one side once and check every answer it gave."""
    rows, cpu = side.count_rows(), side.cpu_seconds()
    plan = Plan("distinct", [Request("POST", "/oauth/token", {"Authorization": side.authorization}, FORM)])
    report, answers = load(f"http://127.0.0.1:{side.port}", plan, connections, seconds, folder)
    cpu, rows = side.cpu_seconds() - cpu, side.count_rows() - rows
    checked = check_answers(side, answers, seen)
    if report.errors or report.requests - checked > connections or rows < checked:
        side.fail(f"reports {report}, {checked} good answers, {rows} rows written")
    return Round(
        side.name,
        report.requests,
        report.seconds,
        cpu,
        report.cpu_seconds,
        report.p50_ms,
        report.p99_ms,
        rows,
    )


def check_answers(side: Side, answers: Path, seen: set[str]) -> int:
    """How many answers came, each of them 200 with a new token that verifies; anything else ends the run."""
    key, count = side.find_key(), 0
    for status, body, _ in read_answers(answers):
        if status != 200:
            side.fail(f"answered {status}: {body[:300]}")
        answer = json.loads(body)
        token = jwt.decode(answer["access_token"], key, algorithms=["ES256"])
        claims = token.claims
        expected = {"iss": side.issuer, "aud": AUDIENCE, "scope": SCOPE}
        if token.header["typ"] != "at+jwt" or {name: claims[name] for name in expected} != expected:
            side.fail(f"gave a token that says {token.header} {claims}")
        if answer["token_type"].lower() != "bearer" or not time.time() - 60 < claims["exp"] - 300 < time.time() + 1:
            side.fail(f"gave a token of another kind or lifetime: {answer}")
        if claims["jti"] in seen:
            side.fail("gave the same token twice")
        seen.add(claims["jti"])
        count += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each side is loaded (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="length of a round (%(default)s)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=16, help="of an Authlib worker, as of ours (%(default)s)")
    parser.add_argument("--fewer-threads", type=int, default=2, help="where Authlib's pattern does best (%(default)s)")
    parser.add_argument("--at-least", type=float, default=4.0, help="exit 1 below this ratio (%(default)s)")
    options = parser.parse_args()

    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        sides = [stack.enter_context(ours(folder / "llavero", options.workers))]
        for threads in dict.fromkeys((options.threads, options.fewer_threads)):
            place = folder / f"authlib-{threads}"
            sides.append(stack.enter_context(authlib_pattern(place, options.workers, threads)))
        seen: set[str] = set()
        for side in sides:
            print(f"warming up {side.name} …", flush=True)
            measure(side, options.connections, 2, folder, seen)
        print(HEAD)
        for _ in range(options.rounds):
            for side in sides:
                rounds.append(measure(side, options.connections, options.seconds, folder, seen))
                print(row(rounds[-1]), flush=True)
        checked = len(seen)

    medians = {side.name: median(each.per_cpu_second for each in rounds if each.side == side.name) for side in sides}
    ratios = {name: medians["llavero"] / median_of for name, median_of in medians.items() if name != "llavero"}
    ratio = ratios[f"authlib-{options.threads}"]
    print("\nmedian requests for each server CPU second: " + ", ".join(f"{n} {m:.0f}" for n, m in medians.items()))
    print("ratio to " + ", to ".join(f"{name} {value:.2f}" for name, value in ratios.items()), end="")
    print(f" (at least {options.at_least:g} wanted of the first); {checked} answers checked")
    save(options, rounds, medians, ratios)
    return 0 if ratio >= options.at_least else 1


HEAD = f"{'side':<11}{'requests':>9}{'req/s':>8}{'CPU s':>8}{'req/CPU s':>11}{'p50 ms':>8}{'p99 ms':>8}{'load CPU':>10}"


def row(each: Round) -> str:
    """One line of the table; `load CPU` is the share of one core that the generator took."""
    return (
        f"{each.side:<11}{each.requests:>9}{each.per_second:>8.0f}{each.server_cpu:>8.2f}{each.per_cpu_second:>11.0f}"
        f"{each.p50_ms:>8.1f}{each.p99_ms:>8.1f}{each.generator_cpu / each.seconds:>10.0%}"
    )


def save(options: argparse.Namespace, rounds: list[Round], medians: dict[str, float], ratios: dict[str, float]) -> None:
    """Keep the run in `bench/results/`, with what it ran on."""
    RESULTS.mkdir(exist_ok=True)
    packages = ("authlib", "flask", "flask-sqlalchemy", "sqlalchemy", "granian", "joserfc", "cryptography")
    record: dict[str, Any] = {
        "options": vars(options),
        "generator": generator.name(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {package: version(package) for package in packages},
        "rounds": [asdict(each) for each in rounds],
        "median_requests_per_cpu_second": medians,
        "ratios": ratios,
    }
    path = RESULTS / time.strftime("token-endpoint-%Y%m%dT%H%M%SZ.json", time.gmtime())
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"kept in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    raise SystemExit(main())
