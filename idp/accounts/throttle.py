"""How much one address may try, beside the lock of each name."""
