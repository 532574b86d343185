"""`/admin`: the console of support and operators."""
