"""Make the tables, the client and the people that the settings name."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

import django

django.setup()

# ruff: noqa: E402 - Django has to be set up before its models are read
from django.contrib.auth.models import User
from django.core.management import call_command
from oauth2_provider.models import Application
from site_settings import OWN

call_command("migrate", verbosity=0)
for name in OWN["usernames"]:
    User.objects.create_user(
        name, f"{name.lower()}@cliente.example", OWN["password"], first_name="Persona", last_name="De prueba"
    )
Application.objects.create(
    name="banco",
    client_id=OWN["client_id"],
    client_secret=OWN["client_secret"],
    hash_client_secret=False,  # hashed, each request costs it a second of PBKDF2
    client_type=Application.CLIENT_CONFIDENTIAL,
    authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
    redirect_uris=OWN["redirect_uri"],
    skip_authorization=True,
    algorithm=Application.RS256_ALGORITHM,
)
Application.objects.create(
    name="banco-maquina",
    client_id=OWN["client_id"] + "-maquina",
    client_secret=OWN["client_secret"],
    hash_client_secret=False,  # hashed, each request costs it a second of PBKDF2
    client_type=Application.CLIENT_CONFIDENTIAL,
    authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
    user=User.objects.first(),
)
