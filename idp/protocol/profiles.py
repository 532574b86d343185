"""What each profile demands of a client: one table."""
