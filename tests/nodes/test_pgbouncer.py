"""Nodes that reach PostgreSQL through PgBouncer, as Debian ships it: whole sessions, and a transaction at a time."""

from collections import Counter
from pathlib import Path

import psycopg
import pytest

from idp.postgresql import connect_args
from tests.clusters import cluster, pgbouncer
from tests.nodes.house import house_in, nodes_of
from tests.rig import at_once
from tests.serving import make_password

pytestmark = [pytest.mark.xdist_group("nodes"), pytest.mark.timeout(180)]

WORDS = {"session": "options=none", "transaction": "options=none&prepare_threshold=none"}
"""What docs/operations-nodes.md says to put into the URL."""


def test_the_url_leaves_out_what_a_pooler_does_not_pass_on() -> None:
    url = "postgresql+psycopg://llavero@/postgres?host=pool"
    own = connect_args(url)
    assert "idle_in_transaction_session_timeout=30s" in own["options"]
    assert "prepare_threshold" not in own
    assert connect_args(f"{url}&options=none")["options"] == ""
    assert connect_args(f"{url}&prepare_threshold=none")["prepare_threshold"] is None
    assert "options" not in connect_args(f"{url}&options=-c%20work_mem%3D8MB")


@pytest.mark.enable_socket
@pytest.mark.parametrize("mode", [pytest.param("session", marks=pytest.mark.slow), "transaction"])
@pytest.mark.spec("P-7", "T-8")
def test_what_is_counted_and_spent_over_two_nodes_holds_behind_a_pooler(mode: str, tmp_path: Path) -> None:
    with (
        cluster() as server,
        pgbouncer(server, mode) as url,
        house_in(tmp_path / "house", database=f"{url}&{WORDS[mode]}") as rig,
    ):
        account, nodes = rig.add(), nodes_of(rig)
        tokens = rig.tokens(rig.person(), account)
        for _ in range(24):  # past the fifth use of a statement, at which psycopg prepares it
            status, tokens = rig.refresh(tokens)
            assert status == 200, tokens
        before = Counter(nodes.proxy.answered)
        answers = at_once([lambda: rig.refresh(tokens)[0] for _ in range(12)])
        assert sorted(answers) == [200, *[400] * 11]
        assert {name for (name, _), count in nodes.proxy.answered.items() if count > before[name, _]} == {"a", "b"}
        other = rig.add()
        assert rig.person().try_password(other.username, make_password()).captcha_image is not None
        assert server.execute("SELECT count(*) FROM audit_event WHERE event = 'account:signin:failure'") == [(1,)]


@pytest.mark.enable_socket
def test_without_the_words_the_pooler_takes_no_connection() -> None:
    with cluster() as server, pgbouncer(server, "session") as url:
        where = url.partition("?")[2].replace("&", " ")
        with pytest.raises(psycopg.OperationalError, match="options"):
            psycopg.connect(f"{where} user=llavero dbname=postgres", options="-c work_mem=8MB")
        psycopg.connect(f"{where} user=llavero dbname=postgres").close()
