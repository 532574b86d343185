"""The door `Recovery`: ask for a link, spend it, set a password, end other sessions."""
