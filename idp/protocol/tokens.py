"""Mint, rotate, introspect, revoke tokens."""
