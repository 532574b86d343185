"""Verify a DPoP proof (RFC 9449 section 4.3): values in, thumbprint out."""
