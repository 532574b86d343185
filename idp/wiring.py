"""Builds `Services` once: the one file in which accounts, protocol and retention meet."""
