"""What runs on a clock: sweeps, mail, logout notices, key rotation."""
