"""Connections to addresses in a client's registration, and to no others (P-15)."""
