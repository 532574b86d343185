"""`/login` and `/logout`: the hosted sign-in page."""
