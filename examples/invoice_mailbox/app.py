"""The routes of the example mailbox."""
