"""The door `SignIn`: sign in, sign out."""
