"""Apache with Debian's mod_auth_openidc signs in, refreshes, and signs out, unchanged."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.conftest import House, Traveller, application
from tests.serving import free_port

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]

MODULES = Path("/usr/lib/apache2/modules")
CONFIGURATION = """
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
Mutex file:{folder}
{user}
{modules}
TypesConfig /dev/null
DocumentRoot {folder}/www
AddOutputFilter INCLUDES .shtml
AddType text/html .shtml

OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID {client_id}
OIDCClientSecret {client_secret}
OIDCRedirectURI {url}/regreso
OIDCCryptoPassphrase {passphrase}
OIDCScope "openid email rfc offline_access"
OIDCPKCEMethod S256
OIDCRemoteUserClaim rfc
OIDCInfoHook iat access_token access_token_expires id_token userinfo session

<Location /buzon>
  AuthType openid-connect
  Require valid-user
</Location>
<Location /regreso>
  AuthType openid-connect
  Require valid-user
</Location>
<Location /empleados>
  AuthType openid-connect
  Require claim account_kind:employee
</Location>
<Directory {folder}/www>
  Options +IncludesNOEXEC
  Require all granted
</Directory>
"""


@pytest.fixture(scope="module")
def apache(house: House) -> Iterator[str]:
    """The address of an Apache whose `/buzon` is for those who have signed in."""
    program = shutil.which("apache2") or shutil.which("apache2", path="/usr/sbin")
    if program is None or not (MODULES / "mod_auth_openidc.so").exists():
        pytest.skip("mod_auth_openidc is missing: install it with `apt-get install libapache2-mod-auth-openidc`")
    # Its processes run as another user, who may not enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="apache-"))
    try:
        folder.chmod(0o755)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        client = house.register(
            "client_secret_basic", redirect_uri=f"{url}/regreso", post_logout_redirect_uri=f"{url}/adios.html"
        )
        for place, text in {
            "buzon/index.shtml": '<!--#echo var="REMOTE_USER" --> <!--#echo var="OIDC_CLAIM_email" -->',
            "empleados/index.shtml": "solo empleados",
            "adios.html": "hasta luego",
        }.items():
            file = folder / "www" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        configuration = folder / "apache.conf"
        names = ("mpm_event", "mime", "include", "authn_core", "authz_core", "authz_user", "auth_openidc")
        configuration.write_text(
            CONFIGURATION.format(
                folder=folder,
                port=port,
                url=url,
                issuer=house.provider.issuer,
                client_id=client.client_id,
                client_secret=client.client_secret,
                passphrase=secrets.token_hex(16),
                modules="\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in names),
                user="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
            )
        )
        command = [program, "-f", str(configuration), "-DFOREGROUND"]
        with application(command, folder, {"PATH": "/usr/sbin:/usr/bin:/bin"}, f"{url}/adios.html"):
            yield url
    finally:
        shutil.rmtree(folder)


def test_apache_signs_in_refreshes_and_signs_out(house: House, apache: str) -> None:
    person = Traveller(house.provider.issuer)
    page = f"{apache}/buzon/index.shtml"
    arrived = person.sign_in(person.open(page), house)
    assert arrived.url == page
    assert arrived.text == f"{house.username} persona@cliente.example"

    before = person.open(f"{apache}/regreso?info=json").json()
    assert before["userinfo"]["rfc"] == house.username
    # The module's refresh hook: a new access token by the refresh token, then back to the page.
    person.open(
        f"{apache}/regreso?refresh={quote(page, safe='')}&access_token={quote(before['access_token'], safe='')}"
    )
    after = person.open(f"{apache}/regreso?info=json").json()
    assert after["access_token"] != before["access_token"]
    assert int(after["access_token_expires"]) > int(before["iat"])

    gone = person.open(f"{apache}/regreso?logout={quote(apache + '/adios.html', safe='')}")
    assert gone.text == "hasta luego"
    assert not person.is_signed_in()
    assert (
        person.http.get(page, allow_redirects=False, timeout=30).headers["Location"].startswith(house.provider.issuer)
    )


def test_apache_keeps_out_whose_claims_are_others(house: House, apache: str) -> None:
    person = Traveller(house.provider.issuer)
    assert person.sign_in(person.open(f"{apache}/buzon/index.shtml"), house).status_code == 200
    assert person.open(f"{apache}/empleados/index.shtml").status_code == 401
