"""The `claims` parameter: which claims are asked for, where, and with which values (OIDC Core section 5.5)."""
