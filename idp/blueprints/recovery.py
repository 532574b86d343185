"""`/recover`: forgotten password."""
