"""Second factors: TOTP, passkeys, recovery codes, and the `acr` a sign-in reached."""
