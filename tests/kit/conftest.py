"""A resource server's verifier, and the issuer that it trusts."""

from datetime import datetime

import pytest
from idp_kit import AccessTokenVerifier, JwksCache
from kit_issuer import AUDIENCE, ISSUER, Issuer


@pytest.fixture
def issuer(now: datetime) -> Issuer:
    return Issuer(now)


@pytest.fixture
def verifier(issuer: Issuer) -> AccessTokenVerifier:
    return AccessTokenVerifier(ISSUER, AUDIENCE, JwksCache(ISSUER, fetch=issuer.fetch))
