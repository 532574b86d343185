"""The one place that sets a password: rules and history judged, all that hung on the old one ended."""
