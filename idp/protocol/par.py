"""Push an authorization request and take it back (RFC 9126)."""
