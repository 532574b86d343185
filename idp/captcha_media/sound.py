"""Speaks the digits of a CAPTCHA."""
