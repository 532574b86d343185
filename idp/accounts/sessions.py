"""Who is signed in at which browser, since when, by which means."""
