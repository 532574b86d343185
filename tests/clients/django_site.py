"""A Django site that signs in with mozilla-django-oidc, unchanged, as its documentation says.

Configured by environment: `SITE_URL`, `SITE_FOLDER`, `SITE_ISSUER`, `SITE_CLIENT_ID`, `SITE_CLIENT_SECRET`.
"""

import os
from urllib.parse import urlencode

import django
import requests
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

URL = os.environ["SITE_URL"]
ISSUER = os.environ["SITE_ISSUER"]
METADATA = requests.get(f"{ISSUER}/.well-known/openid-configuration", timeout=10).json()

settings.configure(
    SECRET_KEY=os.environ["SITE_CLIENT_SECRET"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{os.environ['SITE_FOLDER']}/site.db"}},
    SESSION_COOKIE_NAME="site",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "mozilla_django_oidc",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "mozilla_django_oidc.middleware.SessionRefresh",
    ],
    AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
    LOGIN_REDIRECT_URL="/",
    LOGOUT_REDIRECT_URL=f"{URL}/adios",
    OIDC_RP_CLIENT_ID=os.environ["SITE_CLIENT_ID"],
    OIDC_RP_CLIENT_SECRET=os.environ["SITE_CLIENT_SECRET"],
    OIDC_RP_SIGN_ALGO="ES256",
    OIDC_RP_SCOPES="openid email",
    OIDC_USE_PKCE=True,
    OIDC_TOKEN_USE_BASIC_AUTH=True,
    OIDC_STORE_ID_TOKEN=True,
    OIDC_OP_AUTHORIZATION_ENDPOINT=METADATA["authorization_endpoint"],
    OIDC_OP_TOKEN_ENDPOINT=METADATA["token_endpoint"],
    OIDC_OP_USER_ENDPOINT=METADATA["userinfo_endpoint"],
    OIDC_OP_JWKS_ENDPOINT=METADATA["jwks_uri"],
    OIDC_OP_LOGOUT_URL_METHOD=f"{__name__}.logout_url",
    # Whoever comes later is asked again whether they are still signed in: the library's refresh, by `prompt=none`.
    OIDC_RENEW_ID_TOKEN_EXPIRY_SECONDS=int(os.environ.get("SITE_RENEW_AFTER", "900")),
    OIDC_EXEMPT_URLS=["/health", "/adios"],
)
django.setup()


def logout_url(request: HttpRequest) -> str:
    """Where the library sends the person after its own sign-out."""
    query = {
        "id_token_hint": request.session["oidc_id_token"],
        "client_id": settings.OIDC_RP_CLIENT_ID,
        "post_logout_redirect_uri": settings.LOGOUT_REDIRECT_URL,
    }
    return f"{METADATA['end_session_endpoint']}?{urlencode(query)}"


def home(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"email": request.user.email if request.user.is_authenticated else None})  # type: ignore[union-attr]


def sign_out(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        '<form id="form-out" method="post" action="/oidc/logout/"><button id="submit">Salir</button>'
        f'<input type="hidden" name="csrfmiddlewaretoken" value="{_csrf(request)}"></form>'
    )


def _csrf(request: HttpRequest) -> str:
    from django.middleware.csrf import get_token

    return get_token(request)


urlpatterns = [
    path("", home),
    path("salir", sign_out),
    path("adios", lambda request: JsonResponse({"bye": True})),
    path("health", lambda request: JsonResponse({"status": "ok"})),
    path("oidc/", include("mozilla_django_oidc.urls")),
]
call_command("migrate", verbosity=0)
application = get_wsgi_application()
