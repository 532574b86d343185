"""What the README shows runs as it stands."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from idp_kit import read_claim
from kit_issuer import AUDIENCE, ISSUER, Issuer
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

README = Path(__file__).parents[2] / "kit/README.md"


@pytest.fixture
def shown(issuer: Issuer, now: datetime, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the README's Python leaves behind, its two addresses being those of the test's issuer."""
    monkeypatch.setattr("idp_kit.jwks.fetch_document", issuer.fetch)
    text = README.read_text(encoding="utf-8")
    program = "\n\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert program.count("https://id.example.com") == program.count("https://buzon.example.com") == 1
    program = program.replace("https://id.example.com", ISSUER).replace("https://buzon.example.com", AUDIENCE)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(program, names)
    with time_machine.travel(now, tick=False):
        yield names


def test_the_flask_example(shown: dict[str, Any], issuer: Issuer) -> None:
    client = shown["app"].test_client()
    assert client.get("/invoices").status_code == 401

    def ask(path: str, **mailbox: Any) -> Any:
        token = issuer.mailbox_token(mailbox=issuer.mailbox(**mailbox))
        return client.get(path, headers={"Authorization": f"Bearer {token}"})

    assert ask("/invoices").json == ["f-1.xml"]
    assert ask("/invoices", stamped_from="2026-11-21").json == []
    assert ask("/invoices", rfc="XIA190128J61").json == []
    assert ask("/invoices/f-1.xml/xml").json["stamped_at"] == "2026-11-20T19:04:31+00:00"
    assert ask("/invoices/f-1.xml/xml", stamped_from="2026-11-21").status_code == 410
    assert ask("/invoices/f-1.xml/xml", rfc="XIA190128J61").status_code == 404
    assert ask("/invoices/f-1.xml/xml", actions=["read"]).status_code == 403
    assert ask("/invoices/none.xml/xml").status_code == 404


def test_the_sql_example(shown: dict[str, Any], issuer: Issuer, now: datetime) -> None:
    engine = create_engine("sqlite://")
    shown["Base"].metadata.create_all(engine)
    with Session(engine) as session:
        for path, receiver, stamp in (
            ("shown", "EKU9003173C9", "2026-08-26T00:00:00"),
            ("past", "EKU9003173C9", "2026-08-25T23:59:59"),
            ("future", "EKU9003173C9", "2026-11-24T12:00:01"),
            ("unstamped", "EKU9003173C9", None),
            ("another's", "XIA190128J61", "2026-11-20T10:00:00"),
        ):
            session.add(shown["keep"](path, receiver, stamp, now))
        session.flush()
        for later in (timedelta(), timedelta(hours=6)):
            statement = shown["invoices"](read_claim(issuer.mailbox()), now + later)
            assert [invoice.path for invoice in session.scalars(statement)] == ["shown"]
    engine.dispose()
