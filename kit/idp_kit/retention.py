"""The retention claim: read it, write it, obey it."""
