"""Decide an authorization request: sign in, consent, issue or refuse."""
