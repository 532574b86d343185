"""The WSGI application that a production server loads."""
