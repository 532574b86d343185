"""The grants of the token endpoint, one class each."""
