"""Client authentication at the machine endpoints."""
