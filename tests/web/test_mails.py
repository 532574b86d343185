"""What the mails say, in both languages, and how they stand on the wire."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes
from email import policy as email_policy
from html.parser import HTMLParser

import pytest

from idp import policy
from idp.delivery import NotTaken
from idp.outbox import Message, Template
from idp.settings import Settings
from idp.web.mailing import Mailer
from idp.wiring import SettingsError
from tests.postbox import Postbox, Taken, postbox
from tests.web.conftest import SECRET, build

pytestmark = pytest.mark.enable_socket

ID = "3f6f2f58-6a5e-4a52-9d3e-0c7f8f6f1a2b"
LINK = "https://llave.example/request/codedAccess?code=P28vWGpeSlKdPgx_j28aK1E3O-x3ugn350TcY09ug0A"
MASKED = "EKU······3C9"
SUPPORT = {"support_email": "soporte@seres.example", "support_phone": "55 1234 5678"}
LINKED = (Template.REMINDER, Template.INVITATION)
NOTICES = tuple(each for each in Template if each not in LINKED)


@pytest.fixture
def box() -> Iterator[Postbox]:
    with postbox() as found:
        yield found


def a_message(template: Template, now: datetime, **changed: object) -> Message:
    """One of each, with the parameters that it is enqueued with."""
    parameters: dict[str, object] = {"username": MASKED, "account_id": "1", "epoch": 1}
    if template in LINKED:
        parameters["purpose"] = "recover" if template is Template.REMINDER else "invite"
    if template is Template.INVITATION:
        parameters["name"] = "Ñandú & Hijos <b>"
    if template is Template.PASSWORD_EXPIRES:
        parameters |= {"expires_at": now.isoformat(), "days": 3}
    elif template in NOTICES:
        parameters["at"] = now.isoformat()
    message = Message(ID, template, "buzon@example.com", "es-MX", parameters, now, 1)
    return replace(message, **changed)  # type: ignore[arg-type]


def deployment(box: Postbox, **changed: object) -> Settings:
    settings = Settings(secret_key=SECRET, issuer="https://llave.example", mail_server="127.0.0.1", mail_port=box.port)
    return replace(settings, **SUPPORT | changed)  # type: ignore[arg-type]


def send(box: Postbox, message: Message, now: datetime, **settings: object) -> Taken:
    """Hand it over; what arrived."""
    mailer = Mailer(build(deployment(box, **settings)))
    mailer.send(message, LINK if message.template in LINKED else None, now)
    return box.taken[-1]


def flat(text: str) -> str:
    return " ".join(text.split())


def read_html(html: str) -> str:
    """The words of an HTML part."""
    words: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            words.append(data)

    Reader().feed(html)
    return flat(" ".join(words))


REMINDER = f"""\
Estimado(a) usuario(a):

Recibimos una solicitud para cambiar la contraseña del usuario
{MASKED} en e-FACTURA.

Para elegir una contraseña nueva, abra este enlace:

{LINK}

Si no se abre, copie la dirección completa y péguela en su
navegador.

El enlace sirve una sola vez y vence el 24 de noviembre de 2026 a
las 12:30 h (hora del centro de México). También queda anulado en
cuanto cambie su contraseña por cualquier otro medio.

Si usted no lo pidió, no haga nada: su contraseña sigue igual. Si
recibe varios correos como éste sin haberlos pedido, avise a
soporte: soporte@seres.example, 55 1234 5678.

Nunca le pediremos su contraseña ni la respuesta de su pregunta
secreta por correo o por teléfono.

Gracias por su confianza.
SERES de México

--
Aviso de confidencialidad: este mensaje es sólo para la persona a
quien va dirigido y puede incluir información reservada. Si le
llegó por error, no lo use ni lo reenvíe: avísenos respondiendo a
este correo y bórrelo.
"""


@pytest.mark.spec("M13", "contract §7", "R-5")
def test_the_reminder_says_what_the_deck_says(box: Postbox, now: datetime) -> None:
    message = a_message(Template.REMINDER, now)
    taken = send(box, replace(message, parameters={**message.parameters, "name": "Escuela Kemper Urgate"}), now)
    assert taken.mail["Subject"] == "Cambio de contraseña de acceso en e-FACTURA"
    # 12:00 in Mexico City, and the half hour that the link lives from now on.
    assert taken.part("plain") == REMINDER
    html = taken.part("html")
    assert f'<a href="{LINK}"' in html
    assert "Elegir una contraseña nueva</a>" in html
    assert f"<strong>{MASKED}</strong>" in html
    assert "<strong>24 de noviembre de 2026 a las 12:30 h</strong>" in html
    assert "soporte@seres.example, 55 1234 5678." in html


@pytest.mark.spec("M14")
def test_the_invitation_leads_to_the_activation(box: Postbox, now: datetime) -> None:
    taken = send(box, a_message(Template.INVITATION, now), now)
    text = taken.part("plain")
    assert taken.mail["Subject"] == "Active su acceso a e-FACTURA"
    assert text.startswith("Estimado(a) Ñandú & Hijos <b>:\n")
    assert "vence el 27 de noviembre de 2026 a las 12:00 h (hora del centro de México)" in flat(text)
    assert "Estimado(a) Ñandú &amp; Hijos &lt;b&gt;:" in taken.part("html")


@pytest.mark.spec("M14")
def test_who_asks_for_a_reminder_before_the_activation_gets_the_invitation(box: Postbox, now: datetime) -> None:
    message = a_message(Template.REMINDER, now)
    taken = send(box, replace(message, parameters={**message.parameters, "purpose": "invite"}), now)
    assert taken.mail["Subject"] == "Active su acceso a e-FACTURA"
    assert "vence el 27 de noviembre de 2026" in flat(taken.part("plain"))


def test_a_username_that_stands_for_a_name_is_not_shown(box: Postbox, now: datetime) -> None:
    message = a_message(Template.INVITATION, now)
    taken = send(box, replace(message, parameters={**message.parameters, "name": "EKU9003173C9"}), now)
    assert taken.part("plain").startswith("Estimado(a) usuario(a):\n")
    assert b"EKU9003173C9" not in taken.raw


@pytest.mark.parametrize(
    ("template", "subject", "sentence"),
    [
        (
            Template.LOCKED,
            "Se bloqueó su usuario de e-FACTURA",
            f"Su usuario {MASKED} se bloqueó el 24 de noviembre de 2026 a las 12:00 h (hora del centro de México) "
            "después de 3 intentos fallidos. Si fue usted, recupere el acceso con «¿Olvidó su contraseña?». Si no fue "
            "usted, avise a soporte: soporte@seres.example. Su contraseña no se ha cambiado.",
        ),
        (
            Template.PASSWORD_CHANGED,
            "Se cambió su contraseña de e-FACTURA",
            f"La contraseña del usuario {MASKED} se cambió el 24 de noviembre de 2026 a las 12:00 h (hora del centro "
            "de México). Si no fue usted, comuníquese de inmediato con soporte: soporte@seres.example, 55 1234 5678.",
        ),
        (
            Template.QUESTION_CHANGED,
            "Se cambió su pregunta secreta de e-FACTURA",
            f"La pregunta secreta o su respuesta, del usuario {MASKED}, se cambió el 24 de noviembre de 2026 a las "
            "12:00 h (hora del centro de México). Si no fue usted, comuníquese de inmediato con soporte: "
            "soporte@seres.example, 55 1234 5678.",
        ),
        (
            Template.PASSWORD_EXPIRES,
            "Su contraseña de e-FACTURA vence el 24 de noviembre de 2026",
            f"La contraseña del usuario {MASKED} vence el 24 de noviembre de 2026. Entre a llave.example/login "
            "escribiendo la dirección en su navegador y cámbiela. Este correo no contiene enlaces para cambiar "
            "contraseñas.",
        ),
    ],
)
@pytest.mark.spec("W-10", "L-11", "M5")
def test_a_notice_says_what_the_deck_says(
    box: Postbox, now: datetime, template: Template, subject: str, sentence: str
) -> None:
    taken = send(box, a_message(template, now), now)
    assert taken.mail["Subject"] == subject
    assert sentence in flat(taken.part("plain"))
    assert sentence in read_html(taken.part("html"))


@pytest.mark.parametrize("template", NOTICES)
@pytest.mark.parametrize("locale", ["es-MX", "en"])
@pytest.mark.spec("W-10")
def test_a_notice_has_no_link(box: Postbox, now: datetime, template: Template, locale: str) -> None:
    taken = send(box, a_message(template, now, locale=locale), now)
    for kind in ("plain", "html"):
        assert "://" not in taken.part(kind)
        assert "href" not in taken.part(kind)


@pytest.mark.parametrize("template", list(Template))
@pytest.mark.spec("contract §7")
def test_nothing_is_loaded_and_nothing_is_tracked(box: Postbox, now: datetime, template: Template) -> None:
    html = send(box, a_message(template, now), now).part("html")
    assert not re.search(r"<(img|link|script|iframe|video|audio|style)\b|url\(|@import|\ssrc=|background=", html)


@pytest.mark.parametrize("template", list(Template))
def test_every_mail_speaks_english_to_those_who_read_it(box: Postbox, now: datetime, template: Template) -> None:
    taken = send(box, a_message(template, now, locale="en"), now)
    assert taken.mail["Content-Language"] == "en"
    assert '<html lang="en">' in taken.part("html")
    for words in (flat(taken.part("plain")), read_html(taken.part("html"))):
        assert "We will never ask for your password" in words
        assert "November 2" in words
        assert not re.search(r"\b(usuario|contraseña|enlace|correo|soporte:)\b", words.replace("SERES de México", ""))


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.spec("R-8", "contract §7", "security §7")
def test_the_link_stands_whole_and_alone_on_its_line(box: Postbox, now: datetime, eight_bit: bool) -> None:
    box.eight_bit = eight_bit
    taken = send(box, a_message(Template.REMINDER, now), now)
    # As a mail program reads it, and one that knows only the parts' own encodings.
    assert LINK in taken.part("plain").split("\n")
    (text, html) = message_from_bytes(taken.raw).get_payload()
    decoded = text.get_payload(decode=True)
    assert f"\r\n{LINK}\r\n".encode() in decoded.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r")
    # Quoted-printable would cut the line and write `=3D` for its equals sign.
    assert text["Content-Transfer-Encoding"] == html["Content-Transfer-Encoding"] == ("8bit" if eight_bit else "base64")
    assert (f"\r\n{LINK}\r\n".encode() in taken.raw) == eight_bit
    assert all(len(line) < 998 for line in taken.raw.split(b"\r\n"))
    assert eight_bit or taken.raw.isascii()


@pytest.mark.spec("contract §7")
def test_the_headers(box: Postbox, now: datetime) -> None:
    message = a_message(Template.REMINDER, now)
    mail = send(box, message, now).mail
    assert mail["Message-ID"] == f"<{ID}@llave.example>"
    assert str(mail["From"]) == "e-FACTURA <avisos@llave.example>"
    assert mail["To"] == "buzon@example.com"
    assert mail["Reply-To"] == "soporte@seres.example"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "es-MX"
    assert mail["Date"].datetime == now
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    # A later try, a minute later, is the same message.
    assert send(box, replace(message, attempts=2), now + timedelta(minutes=1)).id == mail["Message-ID"]
    assert box.taken[-1].sender == "avisos@llave.example"


def test_the_brand_and_the_sender_are_the_deployments(box: Postbox, now: datetime) -> None:
    taken = send(
        box,
        a_message(Template.REMINDER, now),
        now,
        brand='Peñón, "S.A."',
        company="Peñón & Cía",
        mail_sender="llave@penon.example",
    )
    (address,) = taken.mail["From"].addresses
    assert (address.display_name, address.addr_spec) == ('Peñón, "S.A."', "llave@penon.example")
    assert taken.mail["Subject"] == 'Cambio de contraseña de acceso en Peñón, "S.A."'
    assert "Peñón &amp; Cía" in taken.part("html")


@pytest.mark.parametrize(
    ("given", "locked", "changed"),
    [
        ({"support_phone": ""}, "soporte@seres.example.", "soporte@seres.example."),
        ({"support_email": ""}, "55 1234 5678.", "55 1234 5678."),
        ({"support_email": "", "support_phone": ""}, "responda a este correo.", "responda a este correo."),
    ],
)
def test_support_is_named_by_what_is_set(
    box: Postbox, now: datetime, given: dict[str, str], locked: str, changed: str
) -> None:
    text = flat(send(box, a_message(Template.LOCKED, now), now, **given).part("plain"))
    assert f"avise a soporte: {locked} Su contraseña" in text
    taken = send(box, a_message(Template.PASSWORD_CHANGED, now), now, **given)
    assert f"con soporte: {changed} Nunca" in flat(taken.part("plain"))
    assert (taken.mail["Reply-To"] is None) == ("support_email" in given)


@pytest.mark.parametrize(
    "changed",
    [
        {"recipient": "buzon@example.com\r\nBcc: otro@example.com"},
        {"recipient": "buzon@example.com\nBcc: otro@example.com"},
        {"id": "x>\r\nBcc: otro@example.com"},
        {"recipient": "buzón@example.com"},
        {"recipient": "buzon@" + "a" * 70 + ".example"},
    ],
)
@pytest.mark.spec("W-11")
def test_what_cannot_stand_in_a_header_is_refused_for_good(
    box: Postbox, now: datetime, changed: dict[str, str]
) -> None:
    with pytest.raises(NotTaken) as refusal:
        send(box, a_message(Template.LOCKED, now, **changed), now)
    assert refusal.value.permanent
    assert "@" not in refusal.value.reason
    assert box.taken == []
    assert send(box, a_message(Template.LOCKED, now), now).recipients == ("buzon@example.com",)


@pytest.mark.parametrize(
    "setting",
    [
        {"brand": "a\r\nBcc: otro@example.com"},
        {"mail_sender": "a@b.example\r\nBcc: otro@example.com"},
        {"mail_sender": "nobody"},
        {"mail_sender": "avisós@b.example"},
    ],
)
@pytest.mark.spec("W-11")
def test_a_sender_that_no_mail_can_have_is_refused_at_the_start(box: Postbox, setting: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="IDP_MAIL_SENDER"):
        Mailer(build(deployment(box, **setting)))
    Mailer(build(deployment(box, mail_sender="a@b.example")))


def test_a_sender_may_have_a_name_of_its_own(box: Postbox, now: datetime) -> None:
    taken = send(box, a_message(Template.LOCKED, now), now, mail_sender="Avisos de SERES <avisos@seres.example>")
    assert taken.mail["From"] == "Avisos de SERES <avisos@seres.example>"
    assert taken.sender == "avisos@seres.example"


def test_a_domain_beyond_ascii_is_written_as_the_dns_writes_it(box: Postbox, now: datetime) -> None:
    taken = send(box, a_message(Template.LOCKED, now, recipient="buzon@peñón.example"), now)
    assert taken.recipients == ("buzon@" + "peñón.example".encode("idna").decode(),)
    assert message_from_bytes(taken.raw, policy=email_policy.default)["To"] == taken.recipients[0]


def test_policy_leaves_room_between_the_deadline_and_the_lease() -> None:
    assert policy.MAIL_TIMEOUT < policy.MAIL_DEADLINE < policy.MAIL_LEASE
