"""The WSGI application that a production server loads."""

from idp.app import create_app

app = create_app()
