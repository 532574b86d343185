"""The registration endpoint in its three modes, over one house, and the web that registrations name."""

import json
from typing import Any

from idp.protocol.fetch import Fetcher, FetchProblem
from idp.protocol.messages import ProtocolResponse
from idp.protocol.registration import RegistrationRequest, Registrations
from tests.protocol.conftest import ISSUER, House

REDIRECT_URI = "https://rp.example/cb"


class Web(Fetcher):
    """What stands at the addresses that registrations name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}
        self.asked: list[str] = []

    def get_json(self, url: str) -> Any:
        return self._get(url)

    def get_image(self, url: str) -> bytes:
        image: bytes = self._get(url)
        return image

    def _get(self, url: str) -> Any:
        self.asked.append(url)
        if url not in self.found:
            raise FetchProblem("nothing there")
        return self.found[url]


class Desk:
    """The registration endpoint in its three modes, over one house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.web = Web()
        self.mode = "open"

    @property
    def door(self) -> Registrations:
        services = self.house.server.services
        return Registrations(
            services.store, services.clients, services.ephemeral, self.web, issuer=ISSUER, mode=self.mode
        )

    def register(self, *, token: str | None = None, now: Any = None, **body: Any) -> ProtocolResponse:
        values = {"redirect_uris": [REDIRECT_URI], **body}
        return self.send("register", None, token, values, now=now)

    def made(self, **body: Any) -> dict[str, Any]:
        answer = self.register(**body)
        assert answer.status == 201, answer.body
        assert answer.body is not None
        return answer.body

    def send(
        self, method: str, client_id: str | None, token: str | None, body: Any = None, *, now: Any = None
    ) -> ProtocolResponse:
        authorization = None if token is None else f"Bearer {token}"
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = RegistrationRequest(raw, authorization, "192.0.2.1")
        arguments = (request,) if client_id is None else (client_id, request)
        answer: ProtocolResponse = getattr(self.door, method)(*arguments, now or self.house.now)
        return answer


def error(answer: ProtocolResponse) -> tuple[int, str]:
    assert answer.body is not None
    return answer.status, answer.body["error"]
