"""The door `Directory`: what support and operators may look up and do."""
