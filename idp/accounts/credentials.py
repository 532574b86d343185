"""The one place that compares a password."""
