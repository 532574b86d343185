"""The door `Organizations`: a company and its employees."""
