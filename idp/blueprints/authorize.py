"""`/oauth/authorize` and `/consent`."""
