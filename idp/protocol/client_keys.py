"""The keys of clients, as registered or fetched from their `jwks_uri`."""
