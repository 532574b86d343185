"""The registered error codes, on Authlib's base class."""
