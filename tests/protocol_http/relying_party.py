"""A relying party that checks nothing by itself: requests as the conformance suite sends them, answers as they come."""

import base64
import hashlib
import json
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests

from tests.journeys import Person, read
from tests.protocol_http.conftest import Office
from tests.serving import Client

UNCHANGED = object()


class RelyingParty:
    """One client of the provider, with PKCE unless told otherwise."""

    def __init__(self, office: Office, client: Client, *, pkce: bool = True) -> None:
        self.office = office
        self.client = client
        self.verifier = secrets.token_urlsafe(48) if pkce else None

    def url(self, path: str) -> str:
        return f"{self.office.provider.issuer}/{path}"

    def request(self, **parameters: str | None) -> dict[str, str]:
        """The parameters of an authorization request; None leaves one out."""
        found: dict[str, str | None] = {
            "client_id": self.client.client_id,
            "redirect_uri": self.client.redirect_uri,
            "response_type": "code",
            "scope": "openid",
            "state": "estado-1",
            "nonce": "nonce-1",
        }
        if self.verifier is not None:
            digest = hashlib.sha256(self.verifier.encode()).digest()
            found["code_challenge"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            found["code_challenge_method"] = "S256"
        return {name: value for name, value in {**found, **parameters}.items() if value is not None}

    def authorization_url(self, **parameters: str | None) -> str:
        return f"{self.office.metadata['authorization_endpoint']}?{urlencode(self.request(**parameters))}"

    def open(self, person: Person, **parameters: str | None) -> requests.Response:
        """What the browser has after the request: a page, or the redirect back."""
        return person.open(self.authorization_url(**parameters))

    def sign_in(self, person: Person, **parameters: str | None) -> dict[str, str]:
        """The parameters that come back, signing in and consenting where asked."""
        return self.go_through(person, self.open(person, **parameters))

    def go_through(self, person: Person, response: requests.Response) -> dict[str, str]:
        for _ in range(4):
            if (answer := self.answer(response)) is not None:
                return answer
            page = read(response)
            if page.screen == "signin":
                response = person.submit(
                    page, "form-signin", username=self.office.username, password=self.office.password
                )
            elif page.screen == "consent":
                response = person.submit(page, "form-consent")
            else:
                raise AssertionError(f"screen {page.screen!r} ({response.status_code}): {response.text[:400]}")
        raise AssertionError("no way on")

    def answer(self, response: requests.Response) -> dict[str, str] | None:
        """The authorization response: in the query, the fragment, or the form that posts itself; None for a page."""
        if response.is_redirect:
            target = response.headers["Location"]
            assert target.startswith(self.client.redirect_uri), target
            parts = urlsplit(target)
            assert not (parts.fragment and "state=" in parts.query)
            return dict(parse_qsl(parts.fragment or parts.query, keep_blank_values=True))
        page = read(response)
        for form in page.forms.values():
            if form.action == self.client.redirect_uri:
                assert form.method == "post"
                return dict(form.values)
        return None

    def post_token(self, data: dict[str, str], auth: str = "basic") -> requests.Response:
        credentials = None
        if auth == "basic":
            credentials = (self.client.client_id, self.client.client_secret)
        elif auth == "post":
            data = {**data, "client_id": self.client.client_id, "client_secret": self.client.client_secret}
        return requests.post(self.office.metadata["token_endpoint"], data=data, auth=credentials, timeout=30)

    def redeem(self, answer: dict[str, str], auth: str = "basic") -> dict[str, Any]:
        response = self.try_redeem(answer, auth)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def try_redeem(self, answer: dict[str, str], auth: str = "basic") -> requests.Response:
        data = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": self.client.redirect_uri}
        if self.verifier is not None:
            data["code_verifier"] = self.verifier
        return self.post_token(data, auth)

    def userinfo(self, access_token: str, how: str = "get") -> requests.Response:
        url = self.office.metadata["userinfo_endpoint"]
        header = {"Authorization": f"Bearer {access_token}"}
        if how == "get":
            return requests.get(url, headers=header, timeout=30)
        if how == "post_header":
            return requests.post(url, headers=header, timeout=30)
        return requests.post(url, data={"access_token": access_token}, timeout=30)


def decode(token: str, part: int = 1) -> dict[str, Any]:
    """The payload of a JWT, or its header (part 0), unverified."""
    text = token.split(".")[part]
    return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
