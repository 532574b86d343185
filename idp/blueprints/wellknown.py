"""Discovery, JWKS, health."""
