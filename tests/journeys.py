"""A person without a browser: follows redirects, reads forms by the ids of the contract, posts them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests

REDIRECTS_MAX = 12


@dataclass
class Form:
    """A form of a page: where it goes, and what it would send."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


class Page(HTMLParser):
    """What machines may rely on of a page: the screen, the forms by id, the alert."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__()
        self.url = url
        self.screen = ""
        self.ids: set[str] = set()
        self.forms: dict[str, Form] = {}
        self._form: Form | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "body":
            self.screen = values.get("data-screen", "")
        elif tag == "form":
            self._form = Form(urljoin(self.url, values.get("action") or self.url), values.get("method", "get").lower())
            self.forms[values.get("id", f"form-{len(self.forms)}")] = self._form
        elif self._form is not None and values.get("name"):
            if tag == "button" or values.get("type") == "submit":
                self._form.buttons[values.get("id", "")] = (values["name"], values.get("value", ""))
            elif tag == "input" and (values.get("type") not in {"checkbox", "radio"} or "checked" in values):
                self._form.values[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


def read(response: requests.Response) -> Page:
    """The page of a response, which must be one."""
    assert response.headers.get("Content-Type", "").startswith("text/html"), (response.status_code, response.text[:500])
    return Page(response.url, response.text)


class Person:
    """One browser with its cookies. Stops at a redirect that leaves the issuer, where the client takes over."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.http = requests.Session()
        self.http.trust_env = False

    def open(self, url: str) -> requests.Response:
        """Go there and follow what leads on within the issuer."""
        return self.follow(self.http.get(url, allow_redirects=False, timeout=30))

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

    def post(self, page: Page, form_id: str, button: str = "submit", **typed: str) -> requests.Response:
        """Fill in the form and press the button; the answer as it came."""
        assert form_id in page.forms, f"no {form_id} on screen {page.screen!r} with {sorted(page.forms)}"
        form = page.forms[form_id]
        data = {**form.values, **typed}
        if button in form.buttons:
            name, value = form.buttons[button]
            data[name] = value
        return self.http.request(form.method, form.action, data=data, allow_redirects=False, timeout=60)

    def authorize(self, url: str, username: str, password: str) -> str:
        """The way of an authorization request, signing in and consenting where asked; gives the callback's URL."""
        response = self.open(url)
        for _ in range(3):
            if response.is_redirect:
                return response.headers["Location"]
            page = read(response)
            if page.screen == "signin":
                assert "alert" not in page.ids, "the sign-in was refused"
                response = self.submit(page, "form-signin", username=username, password=password)
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
