"""Make the client and the people that the settings name, by Canaille's own models."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend

own = json.loads(Path(sys.argv[1]).read_text())
app = create_app()
with app.app_context():
    backend = Backend.instance
    for name in own["usernames"]:
        user = models.User(
            user_name=name,
            password=own["password"],
            family_name="Prueba",
            formatted_name="Persona de prueba",
            emails=[f"{name.lower()}@cliente.example"],
        )
        backend.save(user)
    client = models.Client(
        client_id=own["client_id"],
        client_secret=own["client_secret"],
        client_id_issued_at=datetime.now(UTC),
        client_name="banco",
        client_uri="http://127.0.0.1",
        redirect_uris=[own["redirect_uri"]],
        token_endpoint_auth_method="client_secret_basic",
        grant_types=["authorization_code", "refresh_token", "client_credentials"],
        response_types=["code"],
        scope=["openid", "profile", "email", "offline_access"],
    )
    backend.save(client)
    client.audience = [client]
    backend.save(client)
