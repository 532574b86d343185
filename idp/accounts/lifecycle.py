"""The door `Lifecycle`: create, activate, change, disable accounts."""
