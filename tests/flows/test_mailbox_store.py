"""Which files the example mailbox serves, and to whom, until which second."""

import csv
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from idp_kit import Decision
from invoice_mailbox import synthetic
from invoice_mailbox.cfdi import UnreadableCfdi, owner_rfc, read_cfdi
from invoice_mailbox.database import open_database
from invoice_mailbox.store import Store
from invoice_mailbox.window import remaining, weeks
from mailbox_rig import EKU, SHARED, claim, days_before, mexico, write_cfdi

samples = pytest.mark.skipif(not SHARED.is_dir(), reason="optional: the CFDI samples do not lie beside the repository")
NOW = mexico("2026-11-24T12:00:00")
TODAY = date(2026, 11, 24)
EMPTY_STAMP = '<tfd:TimbreFiscalDigital Version="1.1"/>'


def open_store(folder: Path, instance: Path, now: datetime) -> Store:
    store = Store(folder, open_database(instance), scan_interval=0)
    store.refresh(now)
    return store


def paths(store: Store, rfc: str, now: datetime, query: str = "") -> set[str]:
    found = store.search(claim(rfc, now), now, query=query, limit=1000)
    assert found.count == len(found.invoices)
    return {invoice.path for invoice in found.invoices}


def index_rows() -> list[dict[str, str]]:
    with (SHARED / "INDEX.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@samples
@pytest.mark.spec("M15")
@pytest.mark.parametrize(
    "clock",
    [
        "2011-06-04T23:59:59",
        "2024-09-10T12:00:00",
        "2026-04-30T12:00:00",
        "2026-11-02T23:59:59",
        "2026-11-03T00:00:00",
        "2026-11-24T12:00:00",
    ],
)
def test_real_samples_show_and_hide_as_their_index_says(clock: str, tmp_path: Path) -> None:
    now = mexico(clock)
    store = open_store(SHARED, tmp_path, now)
    served = [
        row
        for row in index_rows()
        if row["tfd_nodes"] == "1"
        and row["uuid"]
        and mexico(row["fecha_timbrado"]) <= now
        and row["receptor_rfc"] not in {"XAXX010101000", "XEXX010101000", "(extranjero)"}
    ]
    receivers = {row["receptor_rfc"] for row in index_rows() if owner_rfc(row["receptor_rfc"])}
    assert len(receivers) > 8
    for rfc in receivers:
        own = [row for row in served if row["receptor_rfc"] == rfc]
        visible = {row["file"] for row in own if datetime.fromisoformat(row["hidden_from_utc"]) > now}
        assert paths(store, rfc, now) == visible, rfc
        assert store.count_safekeeping(claim(rfc, now), now) == len(own) - len(visible), rfc


@samples
@pytest.mark.spec("M15")
def test_the_last_second_of_day_90_shows_and_the_next_does_not(tmp_path: Path) -> None:
    last, next_second = mexico("2026-11-02T23:59:59"), mexico("2026-11-03T00:00:00")
    store = open_store(SHARED, tmp_path, last)
    both = {"stamped/i40_sintetico_2026.xml", "stamped/p40_sintetico_2026.xml"}
    assert paths(store, "XYZ010101AB2", last) == both
    assert paths(store, "XYZ010101AB2", next_second) == set()
    # K-3: the token of before midnight does not help after it.
    assert store.search(claim("XYZ010101AB2", last), next_second, limit=9).count == 0


@samples
def test_equal_uuids_are_two_invoices_and_version_3_0_is_read(tmp_path: Path) -> None:
    then = mexico("2015-04-01T12:00:00")
    store = open_store(SHARED, tmp_path, then)
    found = store.search(claim("E&Ñ831019M53", then), then, limit=100).invoices
    twins = [invoice for invoice in found if invoice.cfdi.uuid == "E403F396-6A57-4625-ADB4-BB436B00789F"]
    assert {invoice.path for invoice in twins} >= {"stamped/i32_nomina_enye.xml", "stamped/i32_conceptos.xml"}
    assert len({invoice.key for invoice in twins}) == len(twins)
    assert store.count_safekeeping(claim("PEPJ8001019Q8", then), then) == 1


@samples
def test_every_version_of_the_samples_is_read_in_full() -> None:
    rows = {row["file"]: row for row in index_rows()}
    kinds = set()
    for path in sorted((SHARED / "stamped").iterdir()):
        row, cfdi = rows[f"stamped/{path.name}"], read_cfdi(path.read_bytes())
        assert cfdi.uuid == row["uuid"].upper()
        assert cfdi.stamped.isoformat() == row["fecha_timbrado"]
        assert cfdi.issuer_rfc == row["emisor_rfc"].strip()
        assert cfdi.receiver_rfc == owner_rfc(row["receptor_rfc"])
        # Optional until 4.0.
        assert cfdi.issuer_name or row["version"] == "3.3"
        kinds.add((row["root"], row["version"]))
    assert kinds == {
        *(("Comprobante", version) for version in ("3.0", "3.2", "3.3", "4.0")),
        ("Retenciones", "1.0"),
        ("Retenciones", "2.0"),
    }


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("no stamp", lambda text: text.replace("tfd:TimbreFiscalDigital Version", "tfd:Otro Version")),
        ("two stamps", lambda text: text.replace("</cfdi:Complemento>", EMPTY_STAMP + "</cfdi:Complemento>")),
        ("no UUID", lambda text: text.replace(" UUID=", " Uuid=")),
        ("bad UUID", lambda text: text.replace('UUID="1', 'UUID="../')),
        ("no time", lambda text: text.replace(" FechaTimbrado=", " Fecha=")),
        ("no such day", lambda text: text.replace('FechaTimbrado="2026-11-20', 'FechaTimbrado="2026-02-30')),
        (
            "an offset",
            lambda text: text.replace('FechaTimbrado="2026-11-20T12:00:00', 'FechaTimbrado="2026-11-20T12:00:00Z'),
        ),
        ("the far future", lambda text: text.replace('FechaTimbrado="2026', 'FechaTimbrado="3015')),
        ("a second from now", lambda text: text.replace("2026-11-20T12:00:00", "2026-11-24T12:00:01")),
        (
            "the stamp in an Addenda",
            lambda text: text.replace("cfdi:Complemento>", "cfdi:Addenda>"),
        ),
        ("unknown version", lambda text: text.replace('Version="4.0"', 'Version="5.0"')),
        ("foreign namespace", lambda text: text.replace("sat.gob.mx/cfd/4", "sat.example/cfd/4")),
        ("no total", lambda text: text.replace(' Total="1160.00"', ' Total="NaN"')),
        ("a DOCTYPE", lambda text: text.replace("?>", '?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>', 1)),
        (
            "a thousand laughs",
            lambda text: text.replace(
                "?>",
                '?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "' + "&a;" * 999 + '"><!ENTITY c "' + "&b;" * 999 + '">]>',
                1,
            ).replace("RECEPTOR", "&c;"),
        ),
        ("not well-formed", lambda text: text[:-5]),
        ("empty", lambda _: ""),
        ("too large", lambda text: text + " " * (2 * 1024 * 1024)),
        (
            "too deep",
            lambda text: text.replace("<cfdi:Complemento>", "<a>" * 400 + "</a>" * 400 + "<cfdi:Complemento>"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_stamped_exactly_once_is_never_served(name: str, change, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "cfdi"
    good = write_cfdi(folder, "good.xml", stamped="2026-11-20T12:00:00")
    (folder / "bad.xml").write_text(change(good.read_text(encoding="utf-8")), encoding="utf-8")
    store = open_store(folder, tmp_path / "instance", NOW)
    assert paths(store, EKU, NOW) == {"good.xml"}
    much_later = NOW + timedelta(days=60)
    assert paths(store, EKU, much_later) == {"good.xml"}
    assert store.count_safekeeping(claim(EKU, NOW + timedelta(days=200)), NOW + timedelta(days=200)) == 1


def test_links_folders_and_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "cfdi"
    write_cfdi(folder / "2026" / "november", "deep.XML", stamped="2026-11-20T12:00:00")
    outside = write_cfdi(tmp_path, "outside.xml", stamped="2026-11-20T12:00:00")
    (folder / "link.xml").symlink_to(outside)
    (folder / "folder.xml").mkdir()
    (folder / "notes.txt").write_bytes(outside.read_bytes())
    os.mkfifo(folder / "pipe.xml")
    (folder / os.fsdecode(b"\xff.xml")).write_bytes(outside.read_bytes())
    store = open_store(folder, tmp_path / "instance", NOW)
    assert paths(store, EKU, NOW) == {"2026/november/deep.XML"}


@pytest.mark.spec("K-2")
def test_the_first_sight_is_remembered_and_no_file_date_moves_it(tmp_path: Path) -> None:
    folder, instance = tmp_path / "cfdi", tmp_path / "instance"
    path = write_cfdi(folder, "a.xml", stamped="2026-11-24T13:00:00")
    open_store(folder, instance, NOW)
    later = NOW + timedelta(days=1)
    os.utime(path, (later.timestamp(), later.timestamp()))
    store = open_store(folder, instance, later)
    assert paths(store, EKU, later) == set(), "stamped an hour after it was first seen"
    write_cfdi(folder, "a.xml", stamped="2026-11-24T11:59:59")
    store.refresh(later)
    assert paths(store, EKU, later) == {"a.xml"}
    key = store.search(claim(EKU, later), later, limit=1).invoices[0].key
    found = store.find(claim(EKU, later), key, later)[1]
    assert found is not None
    assert found.received == NOW.astimezone(UTC)
    path.unlink()
    store.refresh(later)
    assert paths(store, EKU, later) == set()
    write_cfdi(folder, "a.xml", stamped="2026-11-24T13:00:00")
    store.refresh(later)
    assert paths(store, EKU, later) == set(), "taken away and put back, it is still as old as it was"


def test_a_file_that_changed_since_it_was_indexed_is_not_read_out(tmp_path: Path) -> None:
    folder = tmp_path / "cfdi"
    write_cfdi(folder, "a.xml", stamped="2026-11-20T12:00:00")
    store = open_store(folder, tmp_path / "instance", NOW)
    invoice = store.search(claim(EKU, NOW), NOW, limit=1).invoices[0]
    assert store.read(invoice) == (folder / "a.xml").read_bytes()
    write_cfdi(folder, "a.xml", stamped="2026-11-20T12:00:00", receiver="XIA190128J61")
    assert store.read(invoice) is None


@pytest.mark.parametrize(
    ("written", "owner"),
    [
        (" eku-900317 3c9 ", EKU),
        ("E&amp;Ñ831019M53", "E&Ñ831019M53"),
        ("e&amp;n\u0303831019m53", "E&Ñ831019M53"),
        ("XAXX010101000", None),
        ("xexx010101000", None),
        ("KICR630231NX3", None),
        ("EKU900317", None),
        ("ıIA040805DZ4", None),
        ("", None),
    ],
)
def test_a_receiver_is_read_like_a_username_and_nobody_owns_the_generic_ones(
    written: str, owner: str | None, tmp_path: Path
) -> None:
    path = write_cfdi(tmp_path, "a.xml", stamped="2026-11-20T12:00:00", receiver=written)
    assert read_cfdi(path.read_bytes()).receiver_rfc == owner


@pytest.mark.spec("K-7")
def test_one_rfc_sees_its_own_and_is_told_nothing_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "cfdi"
    write_cfdi(folder, "mine.xml", stamped=days_before(TODAY, 90))
    write_cfdi(folder, "mine-gone.xml", stamped=days_before(TODAY, 91))
    write_cfdi(folder, "theirs.xml", stamped=days_before(TODAY, 1), receiver="XIA190128J61")
    write_cfdi(folder, "theirs-gone.xml", stamped=days_before(TODAY, 91), receiver="XIA190128J61")
    store = open_store(folder, tmp_path / "instance", NOW)
    theirs = {
        invoice.path: invoice.key
        for invoice in store.search(claim("XIA190128J61", NOW, days=365), NOW, limit=9).invoices
    }
    mine = {invoice.path: invoice.key for invoice in store.search(claim(EKU, NOW, days=365), NOW, limit=9).invoices}
    own = claim(EKU, NOW)
    assert store.find(own, mine["mine.xml"], NOW)[0] is Decision.VISIBLE
    assert store.find(own, mine["mine-gone.xml"], NOW)[0] is Decision.SAFEKEEPING
    for key in (theirs["theirs.xml"], theirs["theirs-gone.xml"], "0" * 32, "", "' or 1=1--"):
        assert store.find(own, key, NOW) == (Decision.HIDDEN, None)
    assert store.count_safekeeping(own, NOW) == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("papeleria", {"a.xml"}),
        ("PAPELERÍA centro", {"a.xml"}),
        ("iia040805dz4", {"b.xml"}),
        ("22222222-aaaa", {"b.xml"}),
        ("$5,800.00", {"b.xml"}),
        ("5800", {"b.xml"}),
        ("papeleria 5800", set()),
        ("100%", set()),
        ("_", set()),
        ("'; drop table cfdi; --", set()),
        ("  ", {"a.xml", "b.xml"}),
    ],
)
def test_search_finds_issuer_rfc_uuid_and_total_as_people_type_them(
    query: str, found: set[str], tmp_path: Path
) -> None:
    folder = tmp_path / "cfdi"
    write_cfdi(
        folder, "a.xml", stamped=days_before(TODAY, 1), issuer_name="PAPELERÍA DEL CENTRO", issuer="IXS7607092R5"
    )
    write_cfdi(
        folder, "b.xml", stamped=days_before(TODAY, 2), total="5800", uuid="22222222-AAAA-4333-8444-555555555555"
    )
    write_cfdi(folder, "gone.xml", stamped=days_before(TODAY, 91), issuer_name="PAPELERÍA DEL CENTRO")
    store = open_store(folder, tmp_path / "instance", NOW)
    assert paths(store, EKU, NOW, query) == found


def test_days_left_are_counted_to_the_last_day_inclusive(tmp_path: Path) -> None:
    own = claim(EKU, NOW)
    ages = (0, 89, 90)
    stamps = [datetime.fromisoformat(days_before(TODAY, age)) for age in ages]
    left = [remaining(own, stamp, NOW) for stamp in stamps]
    assert [(each.days, each.last_day.isoformat()) for each in left if each] == [
        (90, "2027-02-22"),
        (1, "2026-11-25"),
        (0, "2026-11-24"),
    ]
    plan = weeks(own, stamps, NOW)
    assert (len(plan), plan[0].count, plan[-1].count) == (13, 2, 1)
    assert plan[0].begins == TODAY
    narrow = remaining(claim(EKU, NOW, days=30), datetime.fromisoformat(days_before(TODAY, 12)), NOW)
    assert narrow is not None
    assert (narrow.days, narrow.of) == (18, 30)


def test_synthetic_invoices_are_the_same_again_and_grow_by_the_day(tmp_path: Path) -> None:
    first = synthetic.write_invoices(tmp_path, today=TODAY)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert (len(before), first) == (first, first)
    assert synthetic.write_invoices(tmp_path, today=TODAY) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    fortnight = synthetic.write_invoices(tmp_path, today=TODAY + timedelta(days=14))
    assert 13 <= fortnight <= 21
    other = tmp_path / "other"
    synthetic.write_invoices(other, today=TODAY, seed="another")
    assert {path.name for path in other.iterdir()}.isdisjoint(before)


def test_synthetic_invoices_fill_the_mailbox_of_each_demo_user(tmp_path: Path) -> None:
    folder = tmp_path / "cfdi"
    synthetic.write_invoices(folder, today=TODAY)
    kinds = set()
    for path in folder.iterdir():
        cfdi = read_cfdi(path.read_bytes())
        assert path.name.startswith(cfdi.stamped.date().isoformat())
        assert TODAY - timedelta(days=120) <= cfdi.stamped.date() < TODAY
        kinds.add((cfdi.kind == "R", cfdi.version))
    assert kinds == {(False, "4.0"), (False, "3.3"), (True, "2.0")}
    midnight = mexico("2026-11-24T00:00:00")
    store = open_store(folder, tmp_path / "instance", midnight)
    for rfc in (EKU, "KICR630120NX3", "XIA190128J61"):
        shown = store.search(claim(rfc, midnight), midnight, limit=1000).count
        kept = store.count_safekeeping(claim(rfc, midnight), midnight)
        assert (shown + kept, shown) == (pytest.approx(40, abs=1), pytest.approx(30, abs=1)), rfc


def test_a_broken_file_says_why_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "cfdi"
    folder.mkdir()
    (folder / "broken.xml").write_text("<a>")
    store = open_store(folder, tmp_path / "instance", NOW)
    store.refresh(NOW)
    assert [record.getMessage() for record in caplog.records] == ["broken.xml is not served: not well-formed XML"]
    with pytest.raises(UnreadableCfdi, match="not well-formed"):
        read_cfdi(b"<a>")
