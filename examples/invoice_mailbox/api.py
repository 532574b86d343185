"""The JSON API, under the kit's guard."""

from datetime import datetime
from typing import Any

from flask import Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from idp_kit import Decision
from werkzeug.exceptions import NotFound

from invoice_mailbox.access import Mailbox
from invoice_mailbox.store import Invoice, Store
from invoice_mailbox.window import remaining

PAGE_SIZE = 20


def add_api(app: Flask, mailbox: Mailbox) -> None:
    store, clock, guard = mailbox.store, mailbox.clock, mailbox.guard

    def describe(invoice: Invoice, now: datetime) -> dict[str, Any]:
        cfdi = invoice.cfdi
        left = remaining(g.access_token.get_mailbox(), cfdi.stamped, now)
        return {
            "key": invoice.key,
            "uuid": cfdi.uuid,
            "kind": cfdi.kind,
            "version": cfdi.version,
            "issuer": {"rfc": cfdi.issuer_rfc, "name": cfdi.issuer_name},
            "receiver": {"rfc": cfdi.receiver_rfc, "name": cfdi.receiver_name},
            "total": f"{cfdi.total:f}",
            "currency": cfdi.currency,
            "stamped": cfdi.stamped.isoformat(),
            "last_day": left and left.last_day.isoformat(),
            "days_left": left and left.days,
        }

    def find(key: str, now: datetime) -> Invoice:
        store.refresh(now)
        decision, invoice = store.find(g.access_token.get_mailbox(), key, now)
        if invoice is None or decision is not Decision.VISIBLE:
            raise NotFound
        return invoice

    @app.get("/api/invoices")
    @guard.require("mailbox:read")
    def api_invoices() -> ResponseReturnValue:
        now, claim = clock(), g.access_token.get_mailbox()
        store.refresh(now)
        listing = store.search(
            claim, now, query=request.args.get("q", ""), offset=(get_page() - 1) * PAGE_SIZE, limit=PAGE_SIZE
        )
        return jsonify(
            invoices=[describe(invoice, now) for invoice in listing.invoices],
            count=listing.count,
            page=get_page(),
            page_size=PAGE_SIZE,
            safekeeping=store.count_safekeeping(claim, now),
        )

    @app.get("/api/invoices/<key>")
    @guard.require("mailbox:read")
    def api_invoice(key: str) -> ResponseReturnValue:
        now = clock()
        return jsonify(describe(find(key, now), now))

    @app.get("/api/invoices/<key>/xml")
    @guard.require("mailbox:download")
    def api_xml(key: str) -> ResponseReturnValue:
        return xml_response(store, find(key, clock()))


def get_page() -> int:
    wanted = request.args.get("page", "1")
    return int(wanted) if wanted.isascii() and wanted.isdigit() and 0 < len(wanted) < 6 and int(wanted) else 1


def xml_response(store: Store, invoice: Invoice) -> Response:
    content = store.read(invoice)
    if content is None:
        raise NotFound
    # The UUID is the name people know it by; it has passed a pattern, so it is safe in a header.
    response = Response(content, content_type="application/xml")
    response.headers["Content-Disposition"] = f'attachment; filename="{invoice.cfdi.uuid}.xml"'
    return response
