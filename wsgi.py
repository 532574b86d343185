"""The WSGI application that a production server loads."""

from idp.app import create_server

app = create_server()
