"""Obey Llavero's access tokens and retention claim, in a resource server."""
