"""What one CFDI file says: who issued it to whom, for how much, and when it was stamped."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from lxml import etree

FILE_SIZE_MAX = 2 * 1024 * 1024
"""Bytes. SAT's own examples are a hundred times smaller."""

GENERIC_RFCS = frozenset({"XAXX010101000", "XEXX010101000"})
"""The public at large, and anybody abroad: they own no mailbox."""

_STAMP = "{http://www.sat.gob.mx/TimbreFiscalDigital}TimbreFiscalDigital"
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", re.ASCII)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_RFC = re.compile(r"[A-ZÑ&]{3,4}(\d{2})(\d{2})(\d{2})[A-Z0-9]{2}[0-9A]", re.ASCII)
_TOTAL = re.compile(r"-?\d{1,18}(\.\d{1,6})?", re.ASCII)
_CAPITALS = str.maketrans("abcdefghijklmnopqrstuvwxyzñ", "ABCDEFGHIJKLMNOPQRSTUVWXYZÑ", " -\t\r\n")
_TEXT_LENGTH_MAX = 300

_KINDS = {"I": "I", "E": "E", "T": "T", "N": "N", "P": "P", "ingreso": "I", "egreso": "E", "traslado": "T"}


class UnreadableCfdi(Exception):
    """The file is not a CFDI that a mailbox may serve. The text is a reason for the log."""


@dataclass(frozen=True, slots=True)
class Cfdi:
    """One stamped document."""

    uuid: str
    kind: str
    """SAT's letter of the kind of Comprobante, or R for Retenciones."""
    version: str
    issuer_rfc: str
    issuer_name: str
    receiver_rfc: str | None
    """None: nobody who could own a mailbox."""
    receiver_name: str
    total: Decimal
    currency: str
    issued: datetime | None
    """`@Fecha`, local to the issuer: to be shown, never to decide anything."""
    stamped: datetime
    """`@FechaTimbrado`: central Mexico time, naive as it stands there."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How one family of versions spells what we read: attribute names, at the root and at its children."""

    version: str
    issued: str
    issuer_rfc: str
    issuer_name: str
    receiver_rfc: str
    receiver_name: str
    total: str


_CAPITAL = _Dialect("Version", "Fecha", "Rfc", "Nombre", "Rfc", "Nombre", "Total")
_SMALL = _Dialect("version", "fecha", "rfc", "nombre", "rfc", "nombre", "total")
_RETENCIONES_1 = _Dialect(
    "Version", "FechaExp", "RFCEmisor", "NomDenRazSocE", "RFCRecep", "NomDenRazSocR", "montoTotOperacion"
)
_RETENCIONES_2 = _Dialect("Version", "FechaExp", "RfcE", "NomDenRazSocE", "RfcR", "NomDenRazSocR", "MontoTotOperacion")

_DIALECTS: Mapping[tuple[str, str], _Dialect] = {
    ("{http://www.sat.gob.mx/cfd/3}Comprobante", "3.0"): _SMALL,
    ("{http://www.sat.gob.mx/cfd/3}Comprobante", "3.2"): _SMALL,
    ("{http://www.sat.gob.mx/cfd/3}Comprobante", "3.3"): _CAPITAL,
    ("{http://www.sat.gob.mx/cfd/4}Comprobante", "4.0"): _CAPITAL,
    ("{http://www.sat.gob.mx/esquemas/retencionpago/1}Retenciones", "1.0"): _RETENCIONES_1,
    ("{http://www.sat.gob.mx/esquemas/retencionpago/2}Retenciones", "2.0"): _RETENCIONES_2,
}


def read_cfdi(content: bytes) -> Cfdi:
    """Read a Comprobante 3.0, 3.2, 3.3 or 4.0, or Retenciones 1.0 or 2.0, that was stamped exactly once.

    Raises `UnreadableCfdi`. The seal is not verified: what lies in the folder was put there by the PAC that stamped it.
    """
    root = _parse(content)
    version = root.get("Version") or root.get("version") or ""
    dialect = _DIALECTS.get((root.tag, version))
    if dialect is None or root.get(dialect.version) is None:
        raise UnreadableCfdi("not a CFDI, or of a version not read here")
    space = root.tag.partition("}")[0] + "}"
    stamp = _only_stamp(root, space)
    uuid = stamp.get("UUID", "").strip()
    if not _UUID.fullmatch(uuid):
        raise UnreadableCfdi("the stamp has no UUID")
    stamped = _instant(stamp.get("FechaTimbrado", "").strip())
    if stamped is None:
        raise UnreadableCfdi("the stamp has no FechaTimbrado")
    issuer, receiver = root.find(f"{space}Emisor"), root.find(f"{space}Receptor")
    if issuer is None or receiver is None:
        raise UnreadableCfdi("no issuer or no receiver")
    if root.tag.endswith("}Retenciones"):
        # A foreign receiver stands under `Extranjero` and has no RFC.
        national = receiver.find(f"{space}Nacional")
        receiver = receiver.find(f"{space}Extranjero") if national is None else national
        totals, currency = root.find(f"{space}Totales"), "MXN"
        kind: str | None = "R"
    else:
        totals, kind = root, _KINDS.get(root.get("TipoDeComprobante") or root.get("tipoDeComprobante") or "")
        currency = _currency(root.get("Moneda", ""))
    if kind is None or totals is None:
        raise UnreadableCfdi("no kind or no total")
    return Cfdi(
        uuid=uuid.upper(),
        kind=kind,
        version=version,
        issuer_rfc=normal_rfc(issuer.get(dialect.issuer_rfc, ""))[:20],
        issuer_name=_text(issuer.get(dialect.issuer_name, "")),
        receiver_rfc=None if receiver is None else owner_rfc(receiver.get(dialect.receiver_rfc, "")),
        receiver_name="" if receiver is None else _text(receiver.get(dialect.receiver_name, "")),
        total=_total(totals.get(dialect.total, "")),
        currency=currency,
        issued=_instant(root.get(dialect.issued, "").strip()[:19]),
        stamped=stamped,
    )


def normal_rfc(text: str) -> str:
    """`text` as Llavero writes an RFC: NFC, no spaces or hyphens, `a-z` and `ñ` as capitals, nothing else folded."""
    return unicodedata.normalize("NFC", text).translate(_CAPITALS)


def owner_rfc(text: str) -> str | None:
    """The RFC of somebody who can own a mailbox, or None: generic, foreign, or none at all."""
    rfc = normal_rfc(text)
    match = _RFC.fullmatch(rfc)
    if match is None or rfc in GENERIC_RFCS:
        return None
    year, month, day = map(int, match.groups())
    # The RFC does not tell the century; 29 February may be of either.
    return rfc if _is_date(1900 + year, month, day) or _is_date(2000 + year, month, day) else None


def _parse(content: bytes) -> Any:
    if len(content) > FILE_SIZE_MAX:
        raise UnreadableCfdi("larger than a CFDI may be")
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnreadableCfdi("not well-formed XML") from error
    # No CFDI has a DOCTYPE; whoever sends one wants its entities expanded.
    if root.getroottree().docinfo.doctype or not isinstance(root.tag, str):
        raise UnreadableCfdi("a DOCTYPE")
    return root


def _only_stamp(root: Any, space: str) -> Any:
    stamps = list(root.iter(_STAMP))
    if len(stamps) != 1:
        raise UnreadableCfdi(f"{len(stamps)} stamps instead of one")
    parent = stamps[0].getparent()
    # Elsewhere, as in an Addenda, anybody could have written it after the fact.
    if parent is None or parent.tag != f"{space}Complemento" or parent.getparent() is not root:
        raise UnreadableCfdi("the stamp does not stand in the Complemento")
    return stamps[0]


def _instant(text: str) -> datetime | None:
    if not _INSTANT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _total(text: str) -> Decimal:
    try:
        if _TOTAL.fullmatch(text.strip()):
            return Decimal(text.strip())
    except InvalidOperation:
        pass
    raise UnreadableCfdi("no total")


def _currency(text: str) -> str:
    # Before 3.3 it was free text, or left out: "Pesos", "M.N.", "MXP".
    code = _text(text).upper()[:20]
    return "MXN" if code in {"", "MXP", "PESOS", "PESO", "M.N.", "MN"} else code


def _text(text: str) -> str:
    return " ".join(text.split())[:_TEXT_LENGTH_MAX]
