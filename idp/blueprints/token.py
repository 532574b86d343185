"""The machine endpoints under `/oauth/`."""
