"""DPoP nonces and replay, round the kit's verifier (RFC 9449 sections 8 and 11.1)."""
