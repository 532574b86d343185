"""Client metadata: registered, read through a short cache, matched exactly."""
