"""Issue a CAPTCHA challenge and take its answer once."""
