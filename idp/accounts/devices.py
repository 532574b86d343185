"""Browsers that have signed in before, known by their device cookie."""
