"""Authorization responses: query, fragment, form_post; success and error alike (OAuth Multiple Response Types)."""
