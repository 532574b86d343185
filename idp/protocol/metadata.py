"""Which client metadata is let through: one check for operators and for dynamic registration."""
