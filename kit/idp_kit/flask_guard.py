"""`require_token`: a Flask view behind an access token."""
