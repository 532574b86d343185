"""Password hashes and the rules of new passwords."""
