"""Which client metadata is let through: one check for operators and for dynamic registration."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from idp.keys import ALGORITHMS
from idp.protocol.details import ClientDetails
from idp.protocol.errors import ClientProblem, RedirectUriProblem
from idp.protocol.key_sets import ENCRYPTION_ALGORITHMS, ENCRYPTION_METHODS, SIGNATURE_ALGORITHMS, read_key_set
from idp.protocol.profiles import DEVICE_CODE, PROFILES, Profile, canonical_response_type

IDENTITY_SCOPES = ("openid", "profile", "email", "address", "phone", "rfc", "offline_access")
"""Scopes about a person: never given to a client acting for itself (D-72)."""
MAILBOX_SCOPES = ("mailbox:read", "mailbox:download")
_UNSERVED_SCOPES = frozenset({"mailbox:archive", "mailbox:issued"})

ADDRESSES_MAX = 20
"""Redirect addresses, return addresses, resources, contacts, scopes: of each."""
ADDRESS_LENGTH_MAX = 2000
TEXT_LENGTH_MAX = 200
_JWKS_LENGTH_MAX = 16 * 1024
_MAX_AGE_MAX = 999_999_999
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""What else RFC 3986 section 3.2.2 lets a host be written with, such as `;`, would end a directive of our policies
(W-7), or hide where an address leads."""
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}")  # RFC 6749 section 3.3: scope-token


@dataclass(frozen=True, slots=True)
class Registration:
    """What is said of a client when it is registered or changed."""

    client_name: str
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None
    scopes: tuple[str, ...] = ("openid",)
    grant_types: tuple[str, ...] = ("authorization_code",)
    resources: tuple[str, ...] = ()
    profile: str = "modern"
    token_endpoint_auth_method: str = "client_secret_basic"
    id_token_signed_response_alg: str = "ES256"
    organization_rfc: str | None = None
    retention_days: int | None = None
    first_party: bool = False
    response_types: tuple[str, ...] = ("code",)
    details: ClientDetails = ClientDetails()

    @property
    def canonical_response_types(self) -> tuple[str, ...]:
        """None for a client that never comes to the authorization endpoint."""
        if not {"authorization_code", "implicit"}.intersection(self.grant_types):
            return ()
        return tuple(dict.fromkeys(canonical_response_type(each) for each in self.response_types))


def has_secret(token_endpoint_auth_method: str) -> bool:
    """Whether a client of this method has a secret at all."""
    return token_endpoint_auth_method in {"client_secret_basic", "client_secret_post", "client_secret_jwt"}


def check_registration(registration: Registration) -> None:
    """Refuse, with `ClientProblem`, what must not be registered; the text says why and repeats no input."""
    profile = PROFILES.get(registration.profile)
    if profile is None:
        raise ClientProblem("this profile is not served yet; served: " + ", ".join(PROFILES))
    _check_name(registration.client_name)
    _check_grants(registration, profile)
    _check_addresses(registration)
    _check_scopes(registration)
    _check_algorithms(registration)
    _check_keys(registration)
    _check_details(registration, profile)
    if registration.retention_days is not None and registration.retention_days < 1:
        raise ClientProblem("a window has at least one day")


def sector_of(registration: Registration) -> str | None:
    """The host that pairwise subjects are computed for; None where subjects are public (OIDC Core section 8.1).

    Once known it stays, so that subjects do, unless a `sector_identifier_uri` says another.
    """
    details = registration.details
    if details.subject_type != "pairwise":
        return None
    if details.sector_identifier_uri is not None:
        return urlsplit(details.sector_identifier_uri).hostname
    if details.sector is not None:
        return details.sector
    hosts = {urlsplit(uri).hostname or urlsplit(uri).scheme for uri in registration.redirect_uris}
    if len(hosts) != 1:
        # OIDC Core section 8.1: with several hosts "the Client MUST register a sector_identifier_uri".
        raise ClientProblem("pairwise subjects over several hosts need a sector_identifier_uri")
    return hosts.pop()


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 100:
        raise ClientProblem("a client needs a name of 1 to 100 characters")
    if not name.isprintable():
        raise ClientProblem("the name has a character that cannot be printed")


def _check_grants(registration: Registration, profile: Profile) -> None:
    method, grants = registration.token_endpoint_auth_method, registration.grant_types
    if method not in profile.token_endpoint_auth_methods:
        raise ClientProblem("this authentication method is not served for the profile")
    if not profile.grant_types.issuperset(grants):
        raise ClientProblem("this grant is not served for the profile")
    if not profile.response_types.issuperset(map(canonical_response_type, registration.response_types)):
        raise ClientProblem("this response type is not served for the profile")
    if method == "none" and "client_credentials" in grants:
        raise ClientProblem("client_credentials needs a client that can authenticate")
    if "refresh_token" in grants and not {"authorization_code", DEVICE_CODE}.intersection(grants):
        raise ClientProblem("refresh_token needs authorization_code beside it")
    # RFC 7591 section 2.1 and OIDC Registration section 2: which grant goes with which response type.
    words = {word for each in registration.canonical_response_types for word in each.split(" ")}
    if ("authorization_code" in grants) != ("code" in words):
        raise ClientProblem("authorization_code and a response type with code go together")
    if ("implicit" in grants) != bool(words & {"id_token", "token"}):
        raise ClientProblem("implicit and a response type with id_token or token go together")
    if not profile.response_modes.issuperset(registration.details.response_modes):
        raise ClientProblem("this response mode is not served for the profile")


def _check_addresses(registration: Registration) -> None:
    for uris in (registration.redirect_uris, registration.post_logout_redirect_uris, registration.resources):
        if len(uris) > ADDRESSES_MAX:
            raise ClientProblem(f"{ADDRESSES_MAX} addresses of a kind at most")
    if registration.canonical_response_types and not registration.redirect_uris:
        raise RedirectUriProblem("authorization_code needs at least one redirect URI")
    for uri in registration.redirect_uris:
        _check_redirect_uri(uri, registration)
    for uri in registration.post_logout_redirect_uris:
        try:
            _check_return_address(uri)
        except RedirectUriProblem as problem:
            raise ClientProblem(str(problem)) from problem
    for resource in registration.resources:
        parts = _split(resource)
        if parts is None or not parts.scheme or "#" in resource:
            raise ClientProblem("a resource is an absolute URI without fragment (RFC 8707 section 2)")


def _check_redirect_uri(uri: str, registration: Registration) -> None:
    parts = _check_return_address(uri)
    if registration.token_endpoint_auth_method == "none" and registration.first_party and parts.scheme != "https":
        raise RedirectUriProblem("a first-party public client takes https redirect URIs only")
    is_private = parts.scheme != "https" or parts.hostname in _LOOPBACK_HOSTS
    is_implicit = "implicit" in registration.grant_types
    if is_implicit and is_private and registration.details.application_type == "web":
        # OIDC Registration section 2: "MUST only register URLs using the https scheme"; "MUST NOT use localhost".
        raise RedirectUriProblem("with implicit, a web client takes https redirect URIs on a real host only")


def _check_return_address(uri: str) -> SplitResult:
    """RFC 6749 section 3.1.2, RFC 8252 sections 7 and 8.4, RFC 9700 section 2.1."""
    parts = _split(uri)
    if parts is None:
        raise RedirectUriProblem(f"a redirect URI is plain ASCII of up to {ADDRESS_LENGTH_MAX} characters")
    if "#" in uri or parts.username is not None or not parts.scheme:
        raise RedirectUriProblem("a redirect URI is absolute, without fragment and without user")
    if parts.scheme == "https":
        if not _HOST.fullmatch(parts.netloc):
            raise RedirectUriProblem("an https redirect URI names a host")
    elif parts.scheme == "http":
        if parts.hostname not in _LOOPBACK_HOSTS:
            raise RedirectUriProblem("an http redirect URI is for loopback only; write https")
    elif "." not in parts.scheme:
        # RFC 8252 section 7.1: a private-use scheme is a domain name under the app's control, in reverse order.
        raise RedirectUriProblem("a private scheme has a dot, such as mx.example.app:")
    return parts


def _check_scopes(registration: Registration) -> None:
    if len(registration.scopes) > ADDRESSES_MAX:
        raise ClientProblem(f"{ADDRESSES_MAX} scopes at most")
    for scope in registration.scopes:
        if scope in _UNSERVED_SCOPES or not _SCOPE.fullmatch(scope):
            raise ClientProblem("a scope that is not served or not well formed")


def _check_algorithms(registration: Registration) -> None:
    details = registration.details
    if registration.id_token_signed_response_alg not in ALGORITHMS:
        raise ClientProblem("ID tokens are signed with one of " + ", ".join(ALGORITHMS))
    if details.userinfo_signed_response_alg not in (None, *ALGORITHMS):
        raise ClientProblem("userinfo is signed with one of " + ", ".join(ALGORITHMS))
    if details.request_object_signing_alg not in (None, *SIGNATURE_ALGORITHMS):
        raise ClientProblem("request objects are signed with one of " + ", ".join(SIGNATURE_ALGORITHMS))
    for alg, enc in (
        (details.id_token_encrypted_response_alg, details.id_token_encrypted_response_enc),
        (details.userinfo_encrypted_response_alg, details.userinfo_encrypted_response_enc),
    ):
        # OIDC Registration section 2: "When ..._enc is included, ..._alg MUST also be provided."
        if alg not in (None, *ENCRYPTION_ALGORITHMS) or enc not in (None, *ENCRYPTION_METHODS) or (enc and not alg):
            raise ClientProblem("an encryption that is not served, or a method without its algorithm")
    signing = details.token_endpoint_auth_signing_alg
    served: tuple[str, ...] = SIGNATURE_ALGORITHMS
    if registration.token_endpoint_auth_method == "client_secret_jwt":
        served = ("HS256",)
    if signing not in (None, *served):
        raise ClientProblem("client assertions of this method are signed with one of " + ", ".join(served))


def _check_keys(registration: Registration) -> None:
    details = registration.details
    if details.jwks is not None and details.jwks_uri is not None:
        raise ClientProblem("jwks and jwks_uri exclude each other (RFC 7591 section 2)")
    if details.jwks is not None:
        if len(json.dumps(details.jwks)) > _JWKS_LENGTH_MAX:
            raise ClientProblem("the JWK Set is too large")
        try:
            usable = read_key_set(details.jwks)
        except ValueError as error:
            raise ClientProblem(str(error)) from error
        if not usable:
            raise ClientProblem("the JWK Set has no key that can be used")
    needs_keys = (
        registration.token_endpoint_auth_method == "private_key_jwt"
        or details.id_token_encrypted_response_alg
        or details.userinfo_encrypted_response_alg
        or details.require_signed_request_object
    )
    if needs_keys and details.jwks is None and details.jwks_uri is None:
        raise ClientProblem("this needs the client's keys: jwks or jwks_uri")


def _check_details(registration: Registration, profile: Profile) -> None:
    details = registration.details
    if details.application_type not in {"web", "native"}:
        raise ClientProblem("an application is web or native")
    if details.subject_type not in profile.subject_types:
        raise ClientProblem("this subject type is not served for the profile")
    if details.default_max_age is not None and not 0 <= details.default_max_age <= _MAX_AGE_MAX:
        raise ClientProblem("default_max_age is a whole number of seconds")
    _check_texts(details.contacts)
    _check_texts(details.default_acr_values)
    _check_texts(text for text in (details.software_id, details.software_version) if text is not None)
    for uri in (
        details.client_uri,
        details.logo_uri,
        details.policy_uri,
        details.tos_uri,
        details.initiate_login_uri,
        details.sector_identifier_uri,
        details.jwks_uri,
    ):
        if uri is not None:
            _check_web_address(uri)
    if registration.backchannel_logout_uri is not None:
        _check_web_address(registration.backchannel_logout_uri, loopback=True)
    if details.frontchannel_logout_uri is not None:
        parts = _check_web_address(details.frontchannel_logout_uri, loopback=True)
        origins = {(each.scheme, each.netloc) for each in map(urlsplit, registration.redirect_uris)}
        if (parts.scheme, parts.netloc) not in origins:
            # Front-Channel Logout section 2: "domain, port, and scheme ... MUST be the same".
            raise ClientProblem("frontchannel_logout_uri stands on the origin of a redirect URI")
    sector_of(registration)


def _check_texts(texts: Iterable[str]) -> None:
    values = tuple(texts)
    if len(values) > ADDRESSES_MAX or any(len(each) > TEXT_LENGTH_MAX or not each.isprintable() for each in values):
        raise ClientProblem("a text is too long, or has a character that cannot be printed")


def _check_web_address(uri: str, *, loopback: bool = False) -> SplitResult:
    """An https address without user and fragment; `loopback`: or http on this machine, for tests."""
    parts = _split(uri)
    if parts is None or not _HOST.fullmatch(parts.netloc) or "#" in uri:
        raise ClientProblem("an address is absolute, plain ASCII, without user and without fragment")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS):
        raise ClientProblem("an address begins with https")
    return parts


def _split(uri: str) -> SplitResult | None:
    """The parts of an address that is plain ASCII and not too long, else None."""
    if len(uri) > ADDRESS_LENGTH_MAX or not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts
