"""Makes the demo's CFDI files: SAT's public test RFCs, invented companies, stamps over the last 120 days."""

import argparse
import hashlib
import os
import random
import sys
import uuid
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from xml.sax.saxutils import quoteattr
from zoneinfo import ZoneInfo

DAYS = 120
"""How far back the stamps reach: the 90 days of the window, and a month of what has left it."""

SEED = "llavero"


@dataclass(frozen=True, slots=True)
class Party:
    """An RFC of SAT's test list, under a name that nobody bears."""

    rfc: str
    name: str
    postal_code: str = "06600"


@dataclass(frozen=True, slots=True)
class Trade:
    """What an issuer sells, and for how much."""

    party: Party
    item: str
    code: str
    low: int
    high: int


RECEIVERS: tuple[tuple[Party, int], ...] = (
    (Party("EKU9003173C9", "ESCUELA DE PRUEBA EKU", "42501"), 3),
    (Party("KICR630120NX3", "PERSONA FISICA DE PRUEBA", "36257"), 3),
    (Party("XIA190128J61", "INDUSTRIAS DE PRUEBA XIA", "76343"), 3),
    (Party("URE180429TM6", "UNIVERSIDAD DE PRUEBA URE", "86991"), 12),
    (Party("MISC491214B86", "PERSONA FISICA DE PRUEBA", "01030"), 20),
    (Party("XAXX010101000", "PUBLICO EN GENERAL", "06600"), 12),
)
"""Who receives, and one invoice in how many days. The first three are the demo's users."""

TRADES: tuple[Trade, ...] = (
    Trade(
        Party("IIA040805DZ4", "ILUMINACION INDUSTRIAL DE ALMACENES"), "Luminarias LED de nave", "39111600", 900, 42000
    ),
    Trade(
        Party("JES900109Q90", "JARDINERIA Y EQUIPOS DEL SUR"), "Mantenimiento de áreas verdes", "70111700", 600, 9000
    ),
    Trade(Party("H&E951128469", "HERRERIA & ELECTRICOS"), "Instalación eléctrica", "72151500", 1200, 38000),
    Trade(Party("L&O950913MSA", "LUCES & OBRAS"), "Remodelación de oficina", "72121100", 5000, 180000),
    Trade(Party("OÑO120726RX3", "ORGANICOS ÑANDU DEL ORIENTE"), "Café orgánico de altura", "50201706", 350, 4800),
    Trade(Party("S&S051221SE2", "SILLAS & SALAS"), "Sillas ergonómicas", "56112100", 1500, 64000),
    Trade(Party("ICV060329BY0", "IMPRENTA DEL CARIBE Y VALLES"), "Impresión de folletos", "82121500", 480, 12000),
    Trade(Party("IVD920810GU2", "INGENIERIA VERDE Y DESARROLLO"), "Consultoría ambiental", "77101700", 4000, 96000),
    Trade(Party("IXS7607092R5", "INSUMOS XALAPA DEL SURESTE"), "Papelería y tóner", "44121700", 180, 7600),
    Trade(Party("KIJ0906199R1", "KIOSCOS E INSUMOS DE JALISCO"), "Arrendamiento de kiosco", "80131500", 3000, 15000),
    Trade(Party("EWE1709045U0", "ENLACES WEB DEL ESTE"), "Hospedaje de sitio web", "81112100", 250, 5200),
)


def write_invoices(folder: Path, *, today: date, seed: str = SEED) -> int:
    """Write what is missing of the last 120 days before `today`, and return how many files that was.

    What falls on a day depends only on the seed and the day: run again, it writes nothing; run tomorrow, one more
    day. Today itself stays empty, so that no stamp is later than the mailbox's first sight of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for age in range(DAYS, 0, -1):
        day = today - timedelta(days=age)
        for receiver, every in RECEIVERS:
            stretch, place = divmod(day.toordinal(), every)
            if _dice(seed, receiver.rfc, stretch).randrange(every) != place:
                continue
            suffix = hashlib.sha256(f"{seed} {receiver.rfc} {day}".encode()).hexdigest()[:6]
            path = folder / f"{day}-{suffix}.xml"
            if path.exists():
                continue
            partial = path.with_suffix(".partial")
            partial.write_text(_document(_dice(seed, receiver.rfc, day), receiver, day), encoding="utf-8")
            os.replace(partial, path)
            written += 1
    return written


def _dice(*seeds: object) -> random.Random:
    # Reproducible, not secret.
    return random.Random(" ".join(map(str, seeds)))  # noqa: S311


def _document(dice: random.Random, receiver: Party, day: date) -> str:
    trade = dice.choice([each for each in TRADES if each.party.rfc != receiver.rfc])
    issued = datetime.combine(day, time(dice.randint(8, 19), dice.randint(0, 59), dice.randint(0, 59)))
    stamped = issued + timedelta(seconds=dice.randint(2, 90))
    subtotal = Decimal(dice.randint(trade.low * 100, trade.high * 100)) / 100
    kind = dice.random()
    if kind < 0.1:
        return _retenciones(dice, trade, receiver, subtotal, issued, stamped)
    return _comprobante(dice, trade, receiver, subtotal, issued, stamped, version="3.3" if kind < 0.2 else "4.0")


def _comprobante(
    dice: random.Random,
    trade: Trade,
    receiver: Party,
    subtotal: Decimal,
    issued: datetime,
    stamped: datetime,
    *,
    version: str,
) -> str:
    space = "http://www.sat.gob.mx/cfd/" + version[0]
    tax = (subtotal * 16 / 100).quantize(Decimal("0.01"))
    kind = "E" if dice.random() < 0.08 else "I"
    more = {"Exportacion": "01"} if version == "4.0" else {}
    more_receiver = (
        {"DomicilioFiscalReceptor": receiver.postal_code, "RegimenFiscalReceptor": "601"} if version == "4.0" else {}
    )
    more_item = {"ObjetoImp": "02"} if version == "4.0" else {}
    use = "S01" if version == "4.0" and receiver.rfc.startswith("XAXX") else "G03"
    transfer = {"Impuesto": "002", "TipoFactor": "Tasa", "TasaOCuota": "0.160000", "Importe": tax}
    more_total = {"Base": subtotal} if version == "4.0" else {}
    seal = _noise(dice, 256)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<cfdi:Comprobante xmlns:cfdi="{space}"{
        _attributes(
            {
                "Version": version,
                "Fecha": issued.isoformat(),
                "Sello": seal,
                "NoCertificado": "30001000000500003416",
                "Certificado": "",
                "SubTotal": subtotal,
                "Moneda": "MXN",
                "Total": subtotal + tax,
                "TipoDeComprobante": kind,
                "MetodoPago": "PUE",
                "FormaPago": "03",
                "LugarExpedicion": trade.party.postal_code,
                **more,
            }
        )
    }>
  <cfdi:Emisor{_attributes({"Rfc": trade.party.rfc, "Nombre": trade.party.name, "RegimenFiscal": "601"})}/>
  <cfdi:Receptor{_attributes({"Rfc": receiver.rfc, "Nombre": receiver.name, **more_receiver, "UsoCFDI": use})}/>
  <cfdi:Conceptos>
    <cfdi:Concepto{
        _attributes(
            {
                "ClaveProdServ": trade.code,
                "Cantidad": "1",
                "ClaveUnidad": "E48",
                "Descripcion": trade.item,
                "ValorUnitario": subtotal,
                "Importe": subtotal,
                **more_item,
            }
        )
    }>
      <cfdi:Impuestos><cfdi:Traslados><cfdi:Traslado{
        _attributes({"Base": subtotal, **transfer})
    }/></cfdi:Traslados></cfdi:Impuestos>
    </cfdi:Concepto>
  </cfdi:Conceptos>
  <cfdi:Impuestos{_attributes({"TotalImpuestosTrasladados": tax})}>
    <cfdi:Traslados><cfdi:Traslado{_attributes({**more_total, **transfer})}/></cfdi:Traslados>
  </cfdi:Impuestos>
  <cfdi:Complemento>
    {_stamp(dice, stamped, seal)}
  </cfdi:Complemento>
</cfdi:Comprobante>
"""


def _retenciones(
    dice: random.Random, trade: Trade, receiver: Party, amount: Decimal, issued: datetime, stamped: datetime
) -> str:
    withheld = (amount / 10).quantize(Decimal("0.01"))
    seal = _noise(dice, 256)
    national = {"RfcR": receiver.rfc, "NomDenRazSocR": receiver.name, "DomicilioFiscalR": receiver.postal_code}
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<retenciones:Retenciones xmlns:retenciones="http://www.sat.gob.mx/esquemas/retencionpago/2"{
        _attributes(
            {
                "Version": "2.0",
                "FolioInt": str(dice.randint(1, 9999)),
                "Sello": seal,
                "NoCertificado": "30001000000500003416",
                "Certificado": "",
                "FechaExp": issued.isoformat(),
                "LugarExpRetenc": trade.party.postal_code,
                "CveRetenc": "01",
            }
        )
    }>
  <retenciones:Emisor{
        _attributes({"RfcE": trade.party.rfc, "NomDenRazSocE": trade.party.name, "RegimenFiscalE": "601"})
    }/>
  <retenciones:Receptor NacionalidadR="Nacional"><retenciones:Nacional{_attributes(national)}/></retenciones:Receptor>
  <retenciones:Periodo MesIni="{issued:%m}" MesFin="{issued:%m}" Ejercicio="{issued:%Y}"/>
  <retenciones:Totales{
        _attributes(
            {"MontoTotOperacion": amount, "MontoTotGrav": amount, "MontoTotExent": "0.00", "MontoTotRet": withheld}
        )
    }/>
  <retenciones:Complemento>
    {_stamp(dice, stamped, seal)}
  </retenciones:Complemento>
</retenciones:Retenciones>
"""


def _stamp(dice: random.Random, stamped: datetime, seal: str) -> str:
    attributes = {
        "Version": "1.1",
        "UUID": str(uuid.UUID(int=dice.getrandbits(128), version=4)).upper(),
        "FechaTimbrado": stamped.isoformat(),
        "RfcProvCertif": "SAT970701NN3",
        "SelloCFD": seal,
        "NoCertificadoSAT": "30001000000500003456",
        "SelloSAT": _noise(dice, 256),
    }
    return (
        '<tfd:TimbreFiscalDigital xmlns:tfd="http://www.sat.gob.mx/TimbreFiscalDigital"'
        + _attributes(attributes)
        + "/>"
    )


def _attributes(values: Mapping[str, object]) -> str:
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items())


def _noise(dice: random.Random, size: int) -> str:
    """What stands for a seal: it is of the right size and verifies nothing."""
    return b64encode(dice.randbytes(size)).decode("ascii")


def main(arguments: list[str] | None = None) -> int:
    """`python -m invoice_mailbox.synthetic DIR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seed", default=SEED)
    chosen = parser.parse_args(arguments)
    today = datetime.now(UTC).astimezone(ZoneInfo("America/Mexico_City")).date()
    written = write_invoices(chosen.folder, today=today, seed=chosen.seed)
    sys.stdout.write(f"{written} new CFDI in {chosen.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
