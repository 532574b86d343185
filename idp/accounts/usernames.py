"""Usernames: RFC, `CT.` and `usr.`; canonical or refused."""
