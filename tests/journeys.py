"""A person without a browser: follows redirects, reads forms by the ids of the contract, posts them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

REDIRECTS_MAX = 12


@dataclass
class Form:
    """A form of a page: where it goes, and what it would send."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


class Page(HTMLParser):
    """What machines may rely on of a page: the screen, the forms by id, the alert, the CAPTCHA, the words."""

    def __init__(self, url: str, text: str, status: int = 200) -> None:
        super().__init__()
        self.url = url
        self.source = text
        self.status = status
        self.screen = ""
        self.language = ""
        self.ids: set[str] = set()
        self.forms: dict[str, Form] = {}
        self.links: list[str] = []
        self.captcha_image: str | None = None
        self.captcha_audio: str | None = None
        self.words = ""
        self._form: Form | None = None
        self._select: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if values.get("id") == "captcha-image":
            self.captcha_image = urljoin(self.url, values["src"])
        elif tag in {"audio", "source"} and values.get("src"):
            self.captcha_audio = urljoin(self.url, values["src"])
        if tag == "html":
            self.language = values.get("lang", "")
        elif tag == "body":
            self.screen = values.get("data-screen", "")
        elif tag == "a" and values.get("href"):
            self.links.append(urljoin(self.url, values["href"]))
        elif tag == "form":
            self._form = Form(urljoin(self.url, values.get("action") or self.url), values.get("method", "get").lower())
            self.forms[values.get("id", f"form-{len(self.forms)}")] = self._form
        elif values.get("form"):
            self._read_control(self.forms.setdefault(values["form"], Form("", "get")), tag, values)
        elif self._form is not None:
            self._read_control(self._form, tag, values)

    def _read_control(self, form: Form, tag: str, values: dict[str, str]) -> None:
        if tag == "option":
            if self._select is not None and ("selected" in values or self._select not in form.values):
                form.values[self._select] = values.get("value", "")
        elif not values.get("name"):
            return
        elif tag == "select":
            self._select = values["name"]
        elif tag == "button" or values.get("type") == "submit":
            form.buttons[values.get("id", "")] = (values["name"], values.get("value", ""))
        elif tag == "input" and (values.get("type") not in {"checkbox", "radio"} or "checked" in values):
            form.values[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        self.words += data


def read(response: requests.Response) -> Page:
    """The page of a response, which must be one."""
    assert response.headers.get("Content-Type", "").startswith("text/html"), (response.status_code, response.text[:500])
    return Page(response.url, response.text, response.status_code)


class _FromAddress(HTTPAdapter):
    """Connects from this address of loopback."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **kwargs)


class Person:
    """One browser with its cookies. Stops at a redirect that leaves the issuer, where the client takes over.

    `solve` reads CAPTCHAs for it (`Provider.solve`); `address` is the one of 127.0.0.0/8 from which it comes.
    """

    def __init__(self, issuer: str, *, solve: Callable[[str], str] | None = None, address: str | None = None) -> None:
        self.issuer = issuer
        self.http = requests.Session()
        self.http.trust_env = False
        self._solve = solve
        if address is not None:
            self.http.mount("http://", _FromAddress(address))

    def open(self, url: str) -> requests.Response:
        """Go there and follow what leads on within the issuer."""
        return self.follow(self.http.get(urljoin(self.issuer, url), allow_redirects=False, timeout=30))

    def visit(self, url: str) -> Page:
        """Go there and read the page at which it ends."""
        return read(self.open(url))

    def follow(self, response: requests.Response) -> requests.Response:
        """Follow redirects within the issuer; the last response is a page, or a redirect to elsewhere."""
        for _ in range(REDIRECTS_MAX):
            if not response.is_redirect:
                return response
            target = urljoin(response.url, response.headers["Location"])
            if not target.startswith(self.issuer + "/"):
                return response
            response = self.http.get(target, allow_redirects=False, timeout=30)
        raise AssertionError(f"more than {REDIRECTS_MAX} redirects, the last to {response.headers['Location']}")

    def submit(self, page: Page, form_id: str, button: str = "submit", **typed: str) -> requests.Response:
        """Fill in the form, press the button, follow."""
        return self.follow(self.post(page, form_id, button, **typed))

    def send(self, page: Page, form_id: str, button: str = "submit", **typed: str) -> Page:
        """Fill in the form, press the button, read the page at which it ends."""
        return read(self.submit(page, form_id, button, **typed))

    def post(self, page: Page, form_id: str, button: str = "submit", **typed: str) -> requests.Response:
        """Fill in the form and press the button; the answer as it came."""
        assert form_id in page.forms, f"no {form_id} on screen {page.screen!r} with {sorted(page.forms)}"
        form = page.forms[form_id]
        data = {**form.values, **typed}
        if button in form.buttons:
            name, value = form.buttons[button]
            data[name] = value
        return self.http.request(form.method, form.action, data=data, allow_redirects=False, timeout=60)

    def solve(self, page: Page) -> dict[str, str]:
        """What answers the CAPTCHA of this page, if it has one, as fields of its form."""
        if page.captcha_image is None:
            return {}
        assert self._solve is not None, "this person cannot read CAPTCHAs"
        return {"captcha": self._solve(page.captcha_image)}

    def try_password(self, username: str, password: str, page: Page | None = None) -> Page:
        """One attempt at the sign-in page, or at the one already open; its CAPTCHA is solved. Where it ends."""
        page = page or self.visit("/login")
        typed = {"username": username, "password": password, **self.solve(page)}
        after = self.send(page, "form-signin", **typed)
        if "captcha" not in typed and after.screen == "captcha" and "alert" not in after.ids:
            # The name failed elsewhere: nothing was compared, an image is due first (C-1).
            return self.send(after, "form-signin", username=username, password=password, **self.solve(after))
        return after

    def ask_question(self, username: str) -> Page:
        """From *¿Olvidó su contraseña?* to the secret question."""
        return self.send(self.visit("/recover"), "form-recover", username=username)

    def recover_by_question(self, username: str, answer: str, password: str, **more: str) -> Page:
        """The whole way of M6 to M10; where it ends."""
        form = self.send(self.ask_question(username), "form-question", answer=answer)
        return self.choose_password(form, password, **more)

    def ask_link(self, username: str) -> Page:
        """M12: *Enviar recordatorio*; where it ends."""
        return self.send(self.ask_question(username), "form-reminder", "send-reminder")

    def recover_by_mail(self, link: str, password: str, **more: str) -> Page:
        """M13: the link opens the form directly; where saving it ends."""
        return self.choose_password(self.visit(link), password, **more)

    def choose_password(self, form: Page, password: str, **more: str) -> Page:
        """Save a new password; where it ends."""
        return self.send(form, "form-password", new_password=password, new_password_repeat=password, **more)

    def activate(self, link: str, password: str, question: str, answer: str) -> Page:
        """M14: password, then question and answer; where it ends."""
        first = self.visit(link)
        second = self.send(first, "form-activate", new_password=password, new_password_repeat=password)
        return self.send(second, "form-activate", question=question, new_answer=answer)

    def authorize(self, url: str, username: str, password: str) -> str:
        """The way of an authorization request, signing in and consenting where asked; gives the callback's URL."""
        response = self.open(url)
        for _ in range(3):
            if response.is_redirect:
                return response.headers["Location"]
            page = read(response)
            if page.screen in {"signin", "captcha"}:
                assert "alert" not in page.ids, "the sign-in was refused"
                typed = {"username": username, "password": password, **self.solve(page)}
                response = self.submit(page, "form-signin", **typed)
            elif page.screen == "consent":
                response = self.submit(page, "form-consent")
            else:
                raise AssertionError(f"screen {page.screen!r} ({response.status_code}) was not expected")
        if response.is_redirect:
            return response.headers["Location"]
        raise AssertionError(f"no way on after {response.url}")


def parameters(url: str) -> dict[str, str]:
    """The query of a URL, in which nothing stands twice."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs), f"a parameter stands twice: {[name for name, _ in pairs]}"
    return dict(pairs)
