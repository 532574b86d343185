"""Every text of the mailbox, in Spanish and in English, and how each writes a date and an amount."""

import datetime
from decimal import Decimal

LANGUAGES = {"es": "es-MX", "en": "en"}
NO_CURRENCY = 3 * "X"
"""ISO 4217, three X: no currency; what SAT asks for on a document without an amount."""

_TEXTS: dict[str, tuple[str, str]] = {
    "app": ("Buzón de facturas", "Invoice mailbox"),
    "skip": ("Ir al contenido", "Skip to content"),
    "language": ("Idioma", "Language"),
    "sign_in": ("Entrar", "Sign in"),
    "sign_out": ("Cerrar sesión", "Sign out"),
    "footer": ("Aplicación de ejemplo", "Example application"),
    "landing.title": ("Su buzón de recepción", "Your invoice mailbox"),
    "landing.lead": (
        "Consulte y descargue las facturas que le enviaron sus proveedores.",
        "See and download the invoices your suppliers have sent you.",
    ),
    "landing.how": (
        "Entre con su usuario de siempre: su RFC, CT. y el RFC, o usr. y el RFC.",
        "Sign in with your usual user name: your RFC, CT. and the RFC, or usr. and the RFC.",
    ),
    "landing.fact1": ("90 días", "90 days"),
    "landing.fact1.text": (
        "Cada factura se consulta durante 90 días a partir de su timbrado; el último día, completo.",
        "Each invoice can be read for 90 days from its stamping; the last day in full.",
    ),
    "landing.fact2": ("En resguardo", "In safekeeping"),
    "landing.fact2.text": (
        "Después nada se borra: {company} la conserva y soporte se la entrega.",
        "Nothing is deleted afterwards: {company} keeps it, and support hands it to you.",
    ),
    "landing.fact3": ("5 años", "5 years"),
    "landing.fact3.text": (
        "La ley pide conservar sus comprobantes en XML al menos 5 años: guarde su propia copia.",
        "The law asks you to keep your invoices as XML for at least 5 years: keep your own copy.",
    ),
    "list.title": ("Sus facturas", "Your invoices"),
    "list.of": ("Recibidas por {rfc}", "Received by {rfc}"),
    "list.stamped": ("Timbrada el {date}", "Stamped {date}"),
    "order": ("Orden", "Order"),
    "order.newest": ("Más recientes", "Newest"),
    "order.closing": ("Por vencer", "Leaving first"),
    "chart.title": ("Próximas a salir del buzón", "Leaving the mailbox soon"),
    "chart.alt": (
        "Facturas que salen del buzón en cada una de las próximas {weeks} semanas; esta semana, {first}. "
        "El detalle está en la tabla que sigue.",
        "Invoices that leave the mailbox in each of the next {weeks} weeks; this week, {first}. "
        "The details are in the table that follows.",
    ),
    "chart.table": ("Ver semana por semana", "See week by week"),
    "chart.week": ("Semana", "Week"),
    "chart.count": ("Facturas", "Invoices"),
    "chart.legend.now": ("Esta semana", "This week"),
    "chart.legend.later": ("Después", "Later"),
    "chart.range": ("{begins} a {ends}", "{begins} to {ends}"),
    "window.title": ("Su ventana de consulta", "Your window"),
    "window.available.one": ("factura disponible", "invoice available"),
    "window.available.many": ("facturas disponibles", "invoices available"),
    "window.closing.none": ("Ninguna sale en los próximos 7 días", "None leaves in the next 7 days"),
    "window.closing.one": ("1 sale en los próximos 7 días", "1 leaves in the next 7 days"),
    "window.closing.many": ("{count} salen en los próximos 7 días", "{count} leave in the next 7 days"),
    "window.since": ("Timbradas desde", "Stamped from"),
    "window.safekeeping": ("En resguardo", "In safekeeping"),
    "rp.window": (
        "Puede consultar cada factura durante {days} días a partir de su timbrado. Descárguela antes.",
        "You can read each invoice for {days} days from its stamping. Download it before then.",
    ),
    "rp.duty": (
        "La ley pide conservar sus comprobantes en XML al menos 5 años: guarde su propia copia.",
        "The law asks you to keep your invoices as XML for at least 5 years: keep your own copy.",
    ),
    "rp.last_day": ("Disponible hasta el {date} inclusive", "Available through {date}, inclusive"),
    "rp.last_day.today": (
        "Disponible hasta hoy, {date}, inclusive",
        "Available through today, {date}, inclusive",
    ),
    "rp.gone": (
        "Esta factura se timbró hace más de {days} días. {company} la conserva en resguardo; "
        "para pedirla, comuníquese con soporte.",
        "This invoice was stamped more than {days} days ago. {company} keeps it in safekeeping; "
        "to ask for it, contact support.",
    ),
    "rp.gone.count.one": (
        "1 factura se timbró hace más de {days} días. {company} la conserva en resguardo; "
        "para pedirla, comuníquese con soporte.",
        "1 invoice was stamped more than {days} days ago. {company} keeps it in safekeeping; "
        "to ask for it, contact support.",
    ),
    "rp.gone.count.many": (
        "{count} facturas se timbraron hace más de {days} días. {company} las conserva en resguardo; "
        "para pedirlas, comuníquese con soporte.",
        "{count} invoices were stamped more than {days} days ago. {company} keeps them in safekeeping; "
        "to ask for them, contact support.",
    ),
    "left.none": ("Último día", "Last day"),
    "left.one": ("Queda 1 día", "1 day left"),
    "left.many": ("Quedan {count} días", "{count} days left"),
    "left.of": ("Quedan {count} de {days} días", "{count} of {days} days left"),
    "search.label": ("Buscar por emisor, RFC, UUID o total", "Search by issuer, RFC, UUID or total"),
    "search.submit": ("Buscar", "Search"),
    "search.clear": ("Quitar búsqueda", "Clear search"),
    "search.found.one": ("1 factura encontrada para «{query}»", "1 invoice found for “{query}”"),
    "search.found.many": ("{count} facturas encontradas para «{query}»", "{count} invoices found for “{query}”"),
    "search.none": ("Ninguna factura coincide con «{query}».", "No invoice matches “{query}”."),
    "list.empty": (
        "No hay facturas dentro de su ventana de consulta. Las nuevas aparecen aquí al recibirse.",
        "There are no invoices in your window. New ones appear here when they arrive.",
    ),
    "list.download": ("Descargar XML", "Download XML"),
    "list.download.of": ("de {issuer}, {total}", "of {issuer}, {total}"),
    "list.no_issuer": ("Emisor sin nombre", "Issuer without a name"),
    "page.label": ("Páginas", "Pages"),
    "page.of": ("Página {page} de {pages}", "Page {page} of {pages}"),
    "page.previous": ("Anterior", "Previous"),
    "page.next": ("Siguiente", "Next"),
    "invoice.back": ("Volver a sus facturas", "Back to your invoices"),
    "invoice.issuer": ("Emisor", "Issuer"),
    "invoice.receiver": ("Receptor", "Receiver"),
    "invoice.total": ("Total", "Total"),
    "invoice.kind": ("Tipo", "Kind"),
    "invoice.version": ("Versión", "Version"),
    "invoice.issued": ("Expedida", "Issued"),
    "invoice.stamped": ("Timbrada", "Stamped"),
    "invoice.received": ("Recibida en el buzón", "Received in the mailbox"),
    "invoice.uuid": ("Folio fiscal (UUID)", "Tax folio (UUID)"),
    "invoice.amount": ("{total} {currency}", "{total} {currency}"),
    "invoice.no_amount": ("Sin importe", "No amount"),
    "gone.title": ("Esta factura está en resguardo", "This invoice is in safekeeping"),
    "kind.I": ("Factura", "Invoice"),
    "kind.E": ("Nota de crédito", "Credit note"),
    "kind.P": ("Pago", "Payment"),
    "kind.N": ("Nómina", "Payroll"),
    "kind.T": ("Traslado", "Transfer"),
    "kind.R": ("Retenciones", "Withholdings"),
    "time": ("{date}, {time} h (hora del centro de México)", "{date}, {time} (central Mexico time)"),
    "signed_out.title": ("Cerró su sesión", "You are signed out"),
    "signed_out.text": (
        "Si usa un equipo compartido, cierre también el navegador.",
        "If you share this computer, close the browser too.",
    ),
    "signed_out.half": (
        "Cerró su sesión en el buzón, pero no pudimos avisar al servicio de acceso. Cierre el navegador.",
        "You are signed out of the mailbox, but we could not tell the sign-in service. Close the browser.",
    ),
    "again": ("Volver a entrar", "Sign in again"),
    "home": ("Ir al inicio", "Go to the start"),
    "retry": ("Intentar de nuevo", "Try again"),
    "err.title": ("Hay un problema", "There is a problem"),
    "err.404.title": ("No la encontramos", "Not found"),
    "err.404": ("No encontramos la página que busca.", "We could not find the page you are looking for."),
    "err.invoice": (
        "No encontramos esa factura entre las suyas.",
        "We could not find that invoice among yours.",
    ),
    "err.csrf": (
        "La página estuvo abierta demasiado tiempo. Vuelva a cargarla e inténtelo de nuevo.",
        "The page was open for too long. Load it again and retry.",
    ),
    "err.request": (
        "No pudimos entender la solicitud. Vuelva al inicio e inténtelo de nuevo.",
        "We could not understand the request. Go back to the start and retry.",
    ),
    "err.500": (
        "Ocurrió un error de nuestro lado. Inténtelo en unos minutos; si continúa, comuníquese con soporte y "
        "proporcione la clave {folio}.",
        "Something went wrong on our side. Retry in a few minutes; if it goes on, contact support and give them "
        "the reference {folio}.",
    ),
    "err.provider.title": ("El servicio de acceso no responde", "The sign-in service does not answer"),
    "err.provider": (
        "No pudimos comunicarnos con el servicio de acceso. Sus facturas siguen aquí; inténtelo en unos minutos.",
        "We could not reach the sign-in service. Your invoices are still here; retry in a few minutes.",
    ),
    "err.denied.title": ("No dio su permiso", "You did not allow it"),
    "err.denied": (
        "Sin su permiso el buzón no puede mostrarle sus facturas. Puede entrar de nuevo cuando quiera.",
        "Without your permission the mailbox cannot show your invoices. You can sign in again at any time.",
    ),
    "err.sign_in.title": ("No se pudo entrar", "We could not sign you in"),
    "err.sign_in": (
        "La respuesta del servicio de acceso no corresponde a lo que pidió este navegador. Entre de nuevo desde aquí.",
        "The answer of the sign-in service does not match what this browser asked. Sign in again from here.",
    ),
    "err.no_mailbox.title": ("Su usuario no tiene buzón", "Your user has no mailbox"),
    "err.no_mailbox": (
        "Entró con un usuario que no puede consultar facturas. Cierre la sesión y entre con el usuario de su RFC.",
        "You signed in with a user that cannot read invoices. Sign out and use the user of your RFC.",
    ),
    "err.download": (
        "El permiso que dio no incluye descargar facturas. Cierre la sesión y entre de nuevo para darlo.",
        "The permission you gave does not include downloading. Sign out and in again to give it.",
    ),
}

_MONTHS = (
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre",
    "January|February|March|April|May|June|July|August|September|October|November|December",
)


class Words:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.tag = LANGUAGES[language]
        self._index = list(LANGUAGES).index(language)
        self._months = _MONTHS[self._index].split("|")

    def __call__(self, key: str, **values: object) -> str:
        return _TEXTS[key][self._index].format(**values)

    def count(self, key: str, number: int, **values: object) -> str:
        """The text for that many: `key.none` where there is one, `key.one`, or `key.many`."""
        form = "one" if number == 1 else "none" if number == 0 and f"{key}.none" in _TEXTS else "many"
        return self(f"{key}.{form}", count=f"{number:,}", **values)

    def date(self, day: datetime.date) -> str:
        """As "24 de noviembre de 2026"."""
        month = self._months[day.month - 1]
        return f"{day.day} de {month} de {day.year}" if self.language == "es" else f"{day.day} {month} {day.year}"

    def short_date(self, day: datetime.date) -> str:
        """As "24 nov"."""
        return f"{day.day} {self._months[day.month - 1][:3]}"

    def time(self, instant: datetime.datetime) -> str:
        """As "24 de noviembre de 2026, 14:05 h (hora del centro de México)"; `instant` is local already."""
        return self("time", date=self.date(instant), time=f"{instant:%H:%M}")

    def amount(self, total: Decimal, currency: str) -> str:
        """As "$5,800.00 MXN"."""
        if currency == NO_CURRENCY:
            return self("invoice.no_amount")
        sign = "$" if currency in {"MXN", "USD"} else ""
        return f"{'-' if total < 0 else ''}{sign}{abs(total):,.2f} {currency}"


def choose_language(wanted: str | None, remembered: str | None, accepted: str | None) -> str:
    """What was asked for, what was asked for before, what the browser prefers, else Spanish."""
    for language in (wanted, remembered, accepted):
        if language in LANGUAGES:
            return language
    return "es"
