"""Mails: a message of the outbox becomes text and HTML in its reader's language, and goes to the mail server."""

import re
import smtplib
import socket
import ssl
import textwrap
import threading
from contextlib import suppress
from datetime import datetime
from email import policy as email_policy
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import flask_mail
from flask import Flask
from flask_babel import force_locale, format_date, gettext, lazy_gettext

from idp import policy
from idp.accounts.errors import MalformedUsername
from idp.accounts.usernames import parse_username
from idp.delivery import NotTaken
from idp.outbox import Message, Template
from idp.web.current import EXTENSION
from idp.web.i18n import LANGUAGES, SPANISH, Language
from idp.wiring import SettingsError

_SUBJECTS = {
    "reminder": lazy_gettext("Cambio de contraseña de acceso en %(brand)s"),
    "invitation": lazy_gettext("Active su acceso a %(brand)s"),
    "locked": lazy_gettext("Se bloqueó su usuario de %(brand)s"),
    "password-changed": lazy_gettext("Se cambió su contraseña de %(brand)s"),
    "question-changed": lazy_gettext("Se cambió su pregunta secreta de %(brand)s"),
    "password-expires": lazy_gettext("Su contraseña de %(brand)s vence el %(date)s"),
}
_LIFETIMES = {"reminder": policy.RECOVERY_LINK_LIFETIME, "invitation": policy.INVITATION_LIFETIME}
_ZONE = ZoneInfo(policy.RETENTION_TIME_ZONE)
_WIDTH = 66
# RFC 3463: what a server says in numbers. Its words may repeat the address or the mail.
_ENHANCED = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}")


class Mailer:
    """Sends one message to the mail server of the settings, over a connection of its own.

    Refuses with `SettingsError` a sender that no mail can have.
    """

    def __init__(self, app: Flask) -> None:
        settings = app.extensions[EXTENSION].settings
        self._app = app
        self._settings = settings
        parts = urlsplit(settings.issuer)
        self._host = parts.hostname or ""
        self._sender = _sender(settings.brand, settings.mail_sender or f"avisos@{self._host}")
        # Without its scheme: mail programs make a link of an address with one (W-10).
        self._sign_in_address = f"{parts.netloc}/login"
        app.config.update(
            MAIL_SERVER=settings.mail_server,
            MAIL_PORT=settings.mail_port,
            MAIL_USERNAME=settings.mail_username or None,
            MAIL_PASSWORD=settings.mail_password or None,
            MAIL_USE_TLS=settings.mail_tls == "starttls",
            MAIL_USE_SSL=settings.mail_tls == "tls",
            MAIL_DEFAULT_SENDER=self._sender.addr_spec,
        )
        self._mail = flask_mail.Mail(app)

    def send(self, message: Message, link: str | None, now: datetime) -> None:
        """Hand `message` over, with the link that it is to carry; `NotTaken` where the mail server has it not."""
        with self._app.app_context():
            try:
                letter = self._write(message, link, now)
            except (ValueError, UnicodeError) as error:
                # W-11: the standard library refuses a line break in a field, and so do we, for good.
                raise NotTaken("a field cannot stand in a mail's header", permanent=True) from error
            try:
                with _Conversation(self._mail.state, _greeting(self._host)) as conversation:
                    letter.content["Date"] = format_datetime(now)
                    letter.offer(eight_bit=conversation.takes_eight_bit)
                    conversation.send(letter)
            except (flask_mail.BadHeaderError, UnicodeError) as error:
                raise NotTaken("an address that this mail server does not understand", permanent=True) from error
            except OSError as error:  # smtplib's own errors are among them
                raise _not_taken(error) from error

    def check(self) -> None:
        """Greet the mail server, sign in to it, and leave; `NotTaken` says what did not go."""
        with self._app.app_context():
            try:
                with _Conversation(self._mail.state, _greeting(self._host)):
                    pass
            except OSError as error:
                raise _not_taken(error) from error

    def _write(self, message: Message, link: str | None, now: datetime) -> "_Letter":
        language = next((each for each in LANGUAGES if each.tag == message.locale), SPANISH)
        with force_locale(language.locale):
            subject, text, html = self._render(message, link, language, now)
        settings = self._settings
        recipient = _in_ascii(message.recipient)
        content = EmailMessage(email_policy.SMTP)
        content["From"] = self._sender
        content["To"] = recipient
        if settings.support_email:
            # "avísenos respondiendo a este correo"
            content["Reply-To"] = settings.support_email
        content["Subject"] = subject
        # contract.md section 7: the same on every retry, so that a twin is known as one.
        content["Message-ID"] = f"<{message.id}@{_greeting(self._host)}>"
        # RFC 3834 section 5: no holiday notice comes back.
        content["Auto-Submitted"] = "auto-generated"
        return _Letter(content, self._sender.addr_spec, recipient, text, html, language.tag)

    def _render(self, message: Message, link: str | None, language: Language, now: datetime) -> tuple[str, str, str]:
        """Subject, text and HTML, in the language that is in force."""
        settings, parameters = self._settings, message.parameters
        kind = message.template.value
        if parameters.get("purpose") == "invite":
            # Who asks for a reminder before having activated the account gets the invitation again.
            kind = Template.INVITATION.value
        about = now + _LIFETIMES[kind] if kind in _LIFETIMES else _moment(parameters)
        local = about.astimezone(_ZONE)
        date = format_date(local, "long", rebase=False)
        support = [each for each in (settings.support_email, settings.support_phone) if each]
        context: dict[str, Any] = {
            "language": language,
            "brand": settings.brand,
            "company": settings.company,
            "username": parameters["username"],
            # The deck greets by name nowhere; an invitation does, since it comes unasked from a stranger.
            "name": _own_name(parameters.get("name", "")) if kind == Template.INVITATION else "",
            "link": link,
            "date": date,
            "time": f"{local:%H:%M}",
            "attempts": policy.LOCKOUT_ATTEMPTS,
            "address": self._sign_in_address,
            "support": ", ".join(support) or gettext("responda a este correo"),
            "support_first": next(iter(support), gettext("responda a este correo")),
            "subject": str(_SUBJECTS[kind]) % {"brand": settings.brand, "date": date},
        }
        # Not Flask's render_template: its context processors are for pages, which have a request.
        text, html = (
            self._app.jinja_env.get_template(f"mail/{kind}.{ending}").render(context) for ending in ("txt", "html")
        )
        return context["subject"], _wrap(text), html


class _Letter(flask_mail.Message):
    """Flask-Mail's message, built by the standard library's present policy instead of its old one (W-11)."""

    def __init__(self, content: EmailMessage, sender: str, recipient: str, text: str, html: str, language: str) -> None:
        super().__init__(subject=str(content["Subject"]), recipients=[recipient], sender=sender, body=text, html=html)
        self.content = content
        self._language = language

    def offer(self, *, eight_bit: bool) -> None:
        """Take the form that the server reads: as it is, or in base64. Neither cuts a line, and with it the link."""
        form = "8bit" if eight_bit else "base64"
        self.content.set_content(self.body, cte=form)
        self.content.add_alternative(self.html, subtype="html", cte=form)
        # Set before, it would go to the first part alone.
        self.content["Content-Language"] = self._language
        self.mail_options = ["BODY=8BITMIME"] if eight_bit else []

    def _message(self) -> EmailMessage:  # type: ignore[override]  # its `as_bytes` is all that is asked for
        return self.content


class _Conversation(flask_mail.Connection):
    """Flask-Mail's connection with what it lacks: time-outs, verified TLS, and a polite end that can do no harm."""

    def __init__(self, mail: Any, greeting: str) -> None:
        super().__init__(mail)
        self._greeting = greeting
        self._deadline = threading.Timer(policy.MAIL_DEADLINE.total_seconds(), self._cut)
        self._deadline.daemon = True

    @property
    def takes_eight_bit(self) -> bool:
        """Whether the server has said that it reads more than ASCII (RFC 6152)."""
        return self._smtp.has_extn("8bitmime")

    @property
    def _smtp(self) -> smtplib.SMTP:
        if self.host is None:  # Flask-Mail opens no connection in an application that is under test
            raise NotTaken("the application is under test")
        return self.host

    def __enter__(self) -> "_Conversation":
        self._deadline.start()
        try:
            super().__enter__()
            self._smtp.ehlo_or_helo_if_needed()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # The message is the server's by now: whatever happens to QUIT, it was handed over.
        if kind is None:
            with suppress(OSError):
                self._smtp.quit()
        self._close()

    def configure_host(self) -> smtplib.SMTP | smtplib.SMTP_SSL:
        """Connect, within the time-outs of the policy and with the server's certificate verified."""
        mail = self.mail
        options: dict[str, Any] = {
            "local_hostname": self._greeting,
            "timeout": policy.MAIL_TIMEOUT.total_seconds(),
        }
        if mail.use_ssl:
            host: smtplib.SMTP = smtplib.SMTP_SSL(
                mail.server, mail.port, context=ssl.create_default_context(), **options
            )
        else:
            host = smtplib.SMTP(mail.server, mail.port, **options)
        self.host = host
        if mail.use_tls:
            host.starttls(context=ssl.create_default_context())
        if mail.username and mail.password:
            host.login(mail.username, mail.password)
        return host

    def _close(self) -> None:
        self._deadline.cancel()
        if self.host is not None:
            self.host.close()

    def _cut(self) -> None:
        # Time-outs are for each step; a server that drips would never end. Not `SSLSocket.shutdown`, which is for its
        # own thread.
        sock = None if self.host is None else self.host.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _not_taken(error: OSError) -> NotTaken:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _refused("RCPT", *next(iter(error.recipients.values())))
    if isinstance(error, smtplib.SMTPSenderRefused):
        return _refused("MAIL", error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPDataError):
        return _refused("DATA", error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPResponseException):
        # A greeting or a login that is refused says nothing about this message: the settings are wrong, or it is busy.
        return NotTaken(f"{type(error).__name__.removeprefix('SMTP')} {error.smtp_code}")
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return NotTaken("the server hung up")
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return NotTaken("the server does not offer what the settings ask for")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotTaken("the server's certificate is not trusted")
    if isinstance(error, TimeoutError):
        return NotTaken("no answer in time")
    return NotTaken(f"no connection, {type(error).__name__}")


def _refused(step: str, code: int, words: bytes | str) -> NotTaken:
    said = words.encode("utf-8", "replace") if isinstance(words, str) else words
    enhanced = _ENHANCED.match(said)
    reason = f"{step} {code}" + (f" {enhanced[0].decode('ascii')}" if enhanced else "")
    # RFC 5321 section 4.2.1: 5yz is for good, the client must not repeat it; 4yz is for now.
    return NotTaken(reason, permanent=code >= 500)


def _moment(parameters: Any) -> datetime:
    """The moment that a notice is about."""
    return datetime.fromisoformat(parameters.get("at") or parameters["expires_at"])


def _own_name(name: str) -> str:
    """A person's name; nothing where the username stands in its place, which a mail shows masked only."""
    with suppress(MalformedUsername):
        parse_username(name)
        return ""
    return name


def _wrap(text: str) -> str:
    """Lines of a width that mail programs quote well. A link is one word, and so stays whole."""
    lines = (
        textwrap.fill(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in text.strip().splitlines()
    )
    return "\n".join(lines) + "\n"


def _sender(brand: str, setting: str) -> Address:
    """The address of the setting, which may have a name of its own in front, as in `Avisos <avisos@example.com>`."""
    name, address = parseaddr(setting)
    try:
        if not setting.isprintable():  # `parseaddr` drops what it cannot read
            raise ValueError("a control character")
        return Address(name or brand, addr_spec=_in_ascii(address))
    except (ValueError, HeaderParseError) as error:
        # W-11. Not the mail's fault: it must not be refused for good.
        raise SettingsError("IDP_MAIL_SENDER, IDP_BRAND: no mail can come from such a sender") from error


def _in_ascii(address: str) -> str:
    """The address with its domain as the DNS writes it (RFC 5891). A local part beyond ASCII stays, for nobody."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.encode('idna').decode('ascii')}"


def _greeting(host: str) -> str:
    """The issuer's host as SMTP writes it (RFC 5321 section 4.1.3)."""
    return f"[IPv6:{host}]" if ":" in host else host
