"""`/activate` and `/account`: what a person does with their own account."""
