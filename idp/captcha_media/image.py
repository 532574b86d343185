"""Draws the characters of a CAPTCHA so that people read them and OCR does not."""
