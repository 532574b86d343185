"""The userinfo answer: plain, signed, encrypted (OIDC Core section 5.3)."""
