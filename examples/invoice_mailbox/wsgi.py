"""The WSGI application of the example mailbox, set up by the environment."""

import os

from flask import Flask

from invoice_mailbox.app import create_app
from invoice_mailbox.config import Config


def create_app_from_environment() -> Flask:
    """The mailbox that the variables `MAILBOX_…` describe. Raises `ConfigError`."""
    return create_app(Config.from_environment(os.environ))


app = create_app_from_environment()
