"""What developers run by `make`: installing, checking, counting."""
