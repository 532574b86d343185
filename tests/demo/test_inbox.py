"""The demo's mail inbox takes mails over SMTP, and shows them without letting them do anything."""

import smtplib
import socket
from email.message import EmailMessage

import pytest
from flask.testing import FlaskClient

from demo.inbox import KEPT, Inbox, create_app, receive

LINK = "http://localhost:5000/request/codedAccess?code=abc"


def _mail(subject: str = "Recupere su contraseña") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "avisos@llavero.example"
    mail["To"] = "cliente@buzon.example"
    mail["Subject"] = subject
    mail.set_content(f"Abra esta dirección:\n\n{LINK}\n\n<script>alert(1)</script>\n")
    mail.add_alternative(f'<p>Hola</p><a href="{LINK}">Abrir</a>', subtype="html")
    return mail


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def client(inbox: Inbox) -> FlaskClient:
    return create_app(inbox).test_client()


def test_an_empty_inbox_says_so(client: FlaskClient) -> None:
    page = client.get("/", base_url="http://127.0.0.1")
    assert page.status_code == 200
    assert "Todavía no hay mensajes" in page.text


def test_the_newest_mail_comes_first(client: FlaskClient, inbox: Inbox) -> None:
    inbox.put(_mail("Primero").as_bytes())
    inbox.put(_mail("Segundo").as_bytes())
    page = client.get("/", base_url="http://127.0.0.1").text
    assert 0 < page.index("Segundo") < page.index("Primero")


def test_the_oldest_mail_goes(client: FlaskClient, inbox: Inbox) -> None:
    for number in range(KEPT + 1):
        inbox.put(_mail(f"Mensaje {number:03d}").as_bytes())
    page = client.get("/", base_url="http://127.0.0.1").text
    assert "Mensaje 001" in page
    assert "Mensaje 000" not in page
    assert client.get("/mail/1", base_url="http://127.0.0.1").status_code == 404


def test_a_link_of_the_text_can_be_followed_and_markup_stays_text(client: FlaskClient, inbox: Inbox) -> None:
    inbox.put(_mail().as_bytes())
    page = client.get("/mail/1", base_url="http://127.0.0.1").text
    assert f'href="{LINK}"' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_html_of_a_mail_is_shut_in(client: FlaskClient, inbox: Inbox) -> None:
    inbox.put(_mail().as_bytes())
    assert (
        'sandbox="allow-popups allow-popups-to-escape-sandbox"'
        in client.get("/mail/1", base_url="http://127.0.0.1").text
    )
    part = client.get("/mail/1/html", base_url="http://127.0.0.1")
    assert '<a href="' in part.text
    policy = part.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_pages_run_no_script(client: FlaskClient) -> None:
    policy = client.get("/", base_url="http://127.0.0.1").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_another_name_for_this_machine_is_refused(client: FlaskClient) -> None:
    assert client.get("/", base_url="http://evil.example").status_code == 400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Subject: x\r\n\r\nbody",
        b"Content-Type: text/plain; charset=nobody-knows\r\n\r\nbody",
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!",
        b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nopen end",
        b"Subject: \xff\xfe\r\n\r\n\xff",
    ],
)
def test_a_broken_mail_is_kept_and_shown(client: FlaskClient, inbox: Inbox, content: bytes) -> None:
    inbox.put(content)
    assert client.get("/", base_url="http://127.0.0.1").status_code == 200
    assert client.get("/mail/1", base_url="http://127.0.0.1").status_code == 200
    assert client.get("/mail/1/html", base_url="http://127.0.0.1").status_code == 200


@pytest.mark.enable_socket
def test_a_mail_arrives_by_smtp(client: FlaskClient, inbox: Inbox) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = receive(inbox, port)
    controller.start()
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as server:
            server.send_message(_mail())
    finally:
        controller.stop()
    [mail] = inbox.list()
    assert mail.subject == "Recupere su contraseña"
    assert mail.recipient == "cliente@buzon.example"
    assert LINK in mail.text
