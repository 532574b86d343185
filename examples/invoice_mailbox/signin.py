"""The relying party: sign-in, refresh and sign-out at one OpenID provider, through Authlib's client."""

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import FlaskOAuth2App, OAuth
from authlib.integrations.requests_client import OAuth2Session
from flask import Flask, Response, request
from joserfc.errors import JoseError
from requests.adapters import BaseAdapter

SCOPE = "openid profile rfc offline_access mailbox:read mailbox:download"
CLIENT_AUTHENTICATION = "client_secret_basic"
ALGORITHMS = ("ES256", "RS256")
TIMEOUT = timedelta(seconds=5)
LEEWAY = timedelta(seconds=30)


class ProviderUnavailable(Exception):
    """The provider did not answer, or not as a provider does."""


class SignInRefused(Exception):
    """The provider said no, or what came back is not the answer to what this browser asked. `code` is for a log."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Provider:
    """One provider, found by its discovery document when it is first needed, so that either may start first."""

    def __init__(
        self, *, issuer: str, client_id: str, client_secret: str, audience: str, adapter: BaseAdapter | None = None
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._client_id = client_id

        class Session(OAuth2Session):  # type: ignore[misc]  # Authlib has no type hints
            """The HTTP client; no redirect is followed, since it would carry codes and secrets to another place."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs, default_timeout=TIMEOUT.total_seconds())
                self.max_redirects = 0
                if adapter is not None:
                    self.mount("http://", adapter)
                    self.mount("https://", adapter)

        class App(FlaskOAuth2App):  # type: ignore[misc]
            client_cls = Session

        def open_session() -> Any:
            return Session(client_id, client_secret, token_endpoint_auth_method=CLIENT_AUTHENTICATION)

        self._session: Callable[[], Any] = open_session
        self._oauth = OAuth()
        self._oauth.register(
            "llavero",
            client_cls=App,
            client_id=client_id,
            client_secret=client_secret,
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": SCOPE,
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": CLIENT_AUTHENTICATION,
            },
        )

    def init_app(self, app: Flask) -> None:
        """Bind to the application, whose sessions keep state, nonce and code verifier."""
        self._oauth.init_app(app)

    @property
    def origin(self) -> str:
        """Where the browser is sent, for the Content-Security-Policy."""
        parts = urlsplit(self._issuer)
        return f"{parts.scheme}://{parts.netloc}"

    def begin(self, redirect_uri: str, **parameters: str) -> Response:
        """The redirect to the provider's sign-in page, with state, nonce and PKCE. Raises `ProviderUnavailable`."""
        self._metadata()
        response: Response = self._oauth.llavero.authorize_redirect(redirect_uri, resource=self._audience, **parameters)
        return response

    def finish(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The tokens, and what the ID token and userinfo say of the person.

        Raises `SignInRefused` or `ProviderUnavailable`.
        """
        metadata = self._metadata()
        if any(len(values) > 1 for values in request.args.listvalues()):
            raise SignInRefused("doubled_parameter")
        # RFC 9207 section 2.4: a response of another issuer, or one that does not say, goes no further.
        if request.args.get("iss") != metadata["issuer"]:
            raise SignInRefused("iss_mismatch")
        client = self._oauth.llavero
        if "error" in request.args:
            # Whatever its state: nothing is acted upon. Only registered codes have words of their own.
            raise SignInRefused(request.args["error"][:64])
        try:
            answer = client.authorize_access_token(leeway=LEEWAY.total_seconds())
        except requests.RequestException as error:
            raise ProviderUnavailable from error
        except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError) as error:
            raise SignInRefused(str(getattr(error, "error", None) or "invalid_response")) from error
        claims = answer.get("userinfo")
        if not claims or not isinstance(answer.get("access_token"), str):
            raise SignInRefused("no_id_token")
        return _tokens(answer), {**claims, **self._userinfo(answer, claims["sub"])}

    def refresh(self, tokens: Mapping[str, str]) -> dict[str, str]:
        """Fresh tokens. Raises `SignInRefused` when the person must sign in again, or `ProviderUnavailable`."""
        if "refresh_token" not in tokens:
            raise SignInRefused("no_refresh_token")
        metadata = self._metadata()
        try:
            with self._session() as session:
                answer = session.refresh_token(metadata["token_endpoint"], refresh_token=tokens["refresh_token"])
        except requests.RequestException as error:
            raise ProviderUnavailable from error
        except (AuthlibBaseError, ValueError, KeyError, TypeError) as error:
            code = str(getattr(error, "error", None) or "invalid_response")
            if code in {"temporarily_unavailable", "server_error", "slow_down"}:
                raise ProviderUnavailable from error
            raise SignInRefused(code) from error
        if not isinstance(answer.get("access_token"), str):
            raise SignInRefused("no_access_token")
        # The ID token of the sign-in stays: it is what sign-out shows the provider.
        return {**tokens, **_tokens({key: value for key, value in answer.items() if key != "id_token"})}

    def revoke(self, tokens: Mapping[str, str]) -> None:
        """Tell the provider that the refresh token will not come back; whether it hears does not matter to us."""
        try:
            endpoint = self._metadata().get("revocation_endpoint")
            if endpoint and "refresh_token" in tokens:
                with self._session() as session:
                    session.revoke_token(endpoint, token=tokens["refresh_token"])
        except (ProviderUnavailable, requests.RequestException, AuthlibBaseError, ValueError):
            return

    def sign_out_url(self, tokens: Mapping[str, str], *, return_to: str) -> str:
        """Where to send the browser so that the provider's session ends too (OpenID RP-Initiated Logout 1.0)."""
        self._metadata()
        try:
            result = self._oauth.llavero.create_logout_url(
                post_logout_redirect_uri=return_to,
                id_token_hint=tokens.get("id_token"),
                # Nothing hangs on its return: the page it comes back to is the same for everybody.
                state=secrets.token_urlsafe(16),
                client_id=self._client_id,
            )
        except RuntimeError as error:
            raise ProviderUnavailable from error
        return str(result["url"])

    def _metadata(self) -> Mapping[str, Any]:
        try:
            metadata: dict[str, Any] = self._oauth.llavero.load_server_metadata()
        except (requests.RequestException, ValueError, TypeError) as error:
            raise ProviderUnavailable from error
        # OpenID Connect Discovery section 4.3: it must be the issuer that was asked.
        if metadata.get("issuer") != self._issuer:
            metadata.pop("_loaded_at", None)
            raise ProviderUnavailable
        offered = metadata.get("id_token_signing_alg_values_supported") or ()
        metadata["id_token_signing_alg_values_supported"] = [alg for alg in ALGORITHMS if alg in offered]
        return metadata

    def _userinfo(self, answer: Mapping[str, Any], sub: str) -> dict[str, Any]:
        """The name to greet the person with. Nothing is decided on it, so its absence stops nothing."""
        try:
            # Without the refresh token, which Authlib would otherwise spend on its own when the end is near.
            bearer = {"access_token": answer["access_token"], "token_type": "Bearer"}
            claims = dict(self._oauth.llavero.userinfo(token=bearer))
        except (requests.RequestException, AuthlibBaseError, ValueError, KeyError, TypeError):
            return {}
        return claims if claims.get("sub") == sub else {}


def _tokens(answer: Mapping[str, Any]) -> dict[str, str]:
    names = ("access_token", "refresh_token", "id_token")
    return {name: answer[name] for name in names if isinstance(answer.get(name), str)}
