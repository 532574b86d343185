"""Secrets and tokens of clients: made, hashed, and sealed where the secret itself is needed again."""

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12  # NIST SP 800-38D section 8.2


def new_secret() -> str:
    """256 random bits: nothing to guess, so nothing to slow down."""
    return secrets.token_urlsafe(32)


def digest_secret(secret: str) -> str:
    """SHA-256, base64url: enough for 256 random bits, and any text has one."""
    return digest_bytes(secret.encode("utf-8", "surrogatepass"))


def digest_bytes(value: bytes) -> str:
    """SHA-256, base64url."""
    return urlsafe_b64encode(hashlib.sha256(value).digest()).rstrip(b"=").decode("ascii")


def seal(key: bytes, client_id: str, secret: str) -> str:
    """The secret under `key` of 32 bytes, for this client's row and no other (S-4)."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, secret.encode(), client_id.encode())
    return urlsafe_b64encode(nonce + sealed).decode("ascii")


def unseal(key: bytes, client_id: str, sealed: str) -> str | None:
    """What `seal` was given, or None where key or client are others."""
    raw = urlsafe_b64decode(sealed)
    try:
        return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], client_id.encode()).decode()
    except InvalidTag:
        return None
