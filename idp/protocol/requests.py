"""Parse and validate an authorization request."""
