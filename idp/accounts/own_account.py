"""The door `OwnAccount`: what a person sees and does in the account area."""
