"""The device grant: codes, what the person sees, polling (RFC 8628)."""
