"""The counters of failed attempts, in SQL."""
