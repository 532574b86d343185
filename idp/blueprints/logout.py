"""`/oauth/logout`: RP-initiated logout."""
