"""docs/retention.md: its JavaScript takes the right tokens and no others, and decides like the published vectors."""

import csv
import json
import re
import sqlite3
import subprocess
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from tests.clients.conftest import House
from tests.clients.scripts import FOLDER
from tests.serving import ROOT, clean_environment

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]

PAGE = (ROOT / "docs/retention.md").read_text(encoding="utf-8")
MEXICO = ZoneInfo("America/Mexico_City")
AUDIENCE = "https://buzon.example.com"
MAIN = """
const lines = []
for await (const line of (await import('node:readline')).createInterface({ input: process.stdin })) lines.push(line)
const out = []
for (const [what, ...given] of lines.map((line) => JSON.parse(line))) {
  out.push(await (what === 'token' ? readMailbox(...given) : Promise.resolve(isVisible(...given))).catch(() => null))
}
console.log(JSON.stringify(out))
"""


def pasted(language: str) -> str:
    [block] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


def run(node: str, folder: Path, issuer: str, calls: list[list[Any]]) -> list[Any]:
    """What the page's JavaScript says to these calls."""
    (folder / "mailbox.mjs").write_text(pasted("js").replace("https://id.example.com", issuer) + MAIN)
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    given = "".join(json.dumps(call) + "\n" for call in calls)
    done = subprocess.run(
        [node, "mailbox.mjs"],
        input=given,
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean_environment({}),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def vectors() -> list[tuple[str, date, bool]]:
    """Each published stamp, a day on which somebody looks, and whether it is visible then."""
    with (ROOT / "kit/vectors/retention.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) >= 10
    return [
        (row["fecha_timbrado"], datetime.fromisoformat(row[column]).astimezone(MEXICO).date(), visible)
        for row in rows
        for column, visible in (("visible_at_utc", True), ("hidden_at_utc", False))
    ]


@pytest.mark.spec("K-1", "K-3")
def test_it_decides_like_the_vectors(node: str, tmp_path: Path) -> None:
    cases = vectors()
    calls: list[list[Any]] = []
    for stamp, today, _ in cases:
        mailbox = {"rfc": "EKU9003173C9", "stamped_from": (today - timedelta(days=90)).isoformat()}
        calls.append(["visible", mailbox, "EKU9003173C9", stamp])
    expected = [visible for _, _, visible in cases]
    [_, mailbox, own, stamp] = calls[0]
    calls += [["visible", mailbox, "XIA190128J61", stamp], *(["visible", mailbox, own, bad] for bad in (None, "", "2"))]
    assert run(node, tmp_path, "https://id.example.com", calls) == expected + [False] * 4


@pytest.mark.spec("K-1")
def test_the_query_decides_like_the_vectors() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE invoice (path TEXT, receiver TEXT, stamped TEXT)")
    for stamp, today, visible in vectors():
        connection.execute("DELETE FROM invoice")
        connection.executemany(
            "INSERT INTO invoice VALUES (?, ?, ?)",
            [("own", "EKU9003173C9", stamp), ("unstamped", "EKU9003173C9", None), ("another's", "XIA190128J61", stamp)],
        )
        asked = {"rfc": "EKU9003173C9", "stamped_from": (today - timedelta(days=90)).isoformat()}
        assert [path for (path,) in connection.execute(pasted("sql"), asked)] == ["own"] * visible, stamp
    connection.close()


@pytest.mark.spec("T-1", "K-2")
def test_it_takes_the_access_token_of_its_audience_and_no_other(house: House, node: str, tmp_path: Path) -> None:
    def token(*options: str, scope: str = "mailbox:read", **form: str) -> str:
        client = house.provider.add_client(
            "API",
            "https://cliente.example/x",
            "--grant",
            "client_credentials",
            "--organization",
            house.username,
            *options,
        )
        answer = requests.post(
            f"{house.provider.issuer}/oauth/token",
            data={"grant_type": "client_credentials", "scope": scope, **form},
            auth=(client.client_id, client.client_secret),
            timeout=30,
        )
        return str(answer.json()["access_token"])

    good = token("--resource", AUDIENCE, "--scope", "mailbox:read")
    head, body, signature = good.split(".")
    forged = f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    foreign = token("--resource", "https://otro.example.com", "--scope", "mailbox:read")
    downloads = token("--resource", AUDIENCE, "--scope", "mailbox:download", scope="mailbox:download")
    read, *refused = run(
        node, tmp_path, house.provider.issuer, [["token", each] for each in (good, forged, foreign, downloads, "x")]
    )
    assert (read["rfc"], read["actions"], read["retention_days"]) == (house.username, ["read"], 90)
    assert refused == [None] * 4
