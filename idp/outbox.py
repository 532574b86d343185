"""Mail: enqueued inside the caller's transaction, delivered outside it."""
