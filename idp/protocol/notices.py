"""Back-channel logout notices: queued with the end of a session, delivered by the worker."""
