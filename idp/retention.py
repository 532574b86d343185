"""How long a kept thing may be seen: category to deadline, cut-off, claim."""
