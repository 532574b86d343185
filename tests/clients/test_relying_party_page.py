"""docs/relying-party.md: what a stranger pastes signs in and out as it stands, the addresses and secrets being ours."""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from idp.cli.clients import client as client_commands
from tests.clients.conftest import House, Traveller, application
from tests.clients.scripts import FOLDER
from tests.journeys import Person
from tests.serving import ROOT, Client, clean_environment, free_port

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("clients")]

PAGE = (ROOT / "docs/relying-party.md").read_text(encoding="utf-8")
ISSUER, HERE = "https://id.example.com", "https://buzon.example.com"
MODULES = Path("/usr/lib/apache2/modules")
AROUND = """
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
<Directory {folder}/www>
  Options +IncludesNOEXEC
</Directory>
"""


def pasted(language: str, issuer: str, here: str = HERE) -> str:
    """The one block of this language."""
    [block] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert ISSUER in block
    return str(block).replace(ISSUER, issuer).replace(HERE, here)


def environment(client: Client, **more: str) -> Mapping[str, str]:
    own = {"CLIENT_ID": client.client_id, "CLIENT_SECRET": client.client_secret, "SECRET_KEY": secrets.token_hex(16)}
    return {**own, **more}


def walk(house: House, here: str, *, way_out: str = "/logout") -> Traveller:
    """In at the front page, seen there by name, out again; whoever it was, to be gone."""
    person = Traveller(house.provider.issuer)
    arrived = person.sign_in(person.open(f"{here}/"), house)
    assert house.username in arrived.text
    assert house.username in person.open(f"{here}/").text
    assert person.open(here + way_out).text.strip() == "Hasta luego"
    return person


def test_flask(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: what comes back to the application is handed to Flask's test client."""
    client = house.register(
        "client_secret_basic",
        redirect_uri="http://localhost/callback",
        post_logout_redirect_uri="http://localhost/signed-out",
    )
    for name, value in environment(client).items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {"__name__": "pasted"}
    exec(pasted("python", house.provider.issuer), names)
    browser = names["app"].test_client()
    assert browser.get("/").location == "/login"
    person = Person(house.provider.issuer)
    callback = person.authorize(browser.get("/login").location, house.username, house.password)
    assert browser.get(callback).location == "/"
    assert browser.get("/").text == f"Buenos días, {house.username}"
    away = person.open(browser.get("/logout").location)
    assert away.headers["Location"] == "http://localhost/signed-out"
    assert browser.get("/signed-out").text == "Hasta luego"
    assert browser.get("/").location == "/login"


def test_node(house: House, node: str, tmp_path: Path) -> None:
    port = free_port()
    here = f"http://localhost:{port}"
    client = house.register(
        "client_secret_basic", redirect_uri=f"{here}/callback", post_logout_redirect_uri=f"{here}/signed-out"
    )
    (tmp_path / "app.mjs").write_text(pasted("js", house.provider.issuer))
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    own = clean_environment(environment(client, URL=here, PORT=str(port)))
    with application([node, "app.mjs"], tmp_path, own, f"{here}/signed-out"):
        assert not walk(house, here).is_signed_in()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Apache's processes run as another user, who may not enter pytest's folders."""
    made = Path(tempfile.mkdtemp(prefix="apache-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_apache(house: House, folder: Path) -> None:
    program = shutil.which("apache2") or shutil.which("apache2", path="/usr/sbin")
    if program is None or not (MODULES / "mod_auth_openidc.so").exists():
        pytest.skip("mod_auth_openidc is missing: install it with `apt-get install libapache2-mod-auth-openidc`")
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    client = house.register(
        "client_secret_basic", redirect_uri=f"{here}/callback", post_logout_redirect_uri=f"{here}/signed-out"
    )
    for place, text in {"index.shtml": '<!--#echo var="REMOTE_USER" -->', "signed-out": "Hasta luego"}.items():
        (folder / "www").mkdir(exist_ok=True)
        (folder / "www" / place).write_text(text)
    names = ("mpm_event", "mime", "dir", "include", "authn_core", "authz_core", "authz_user", "auth_openidc")
    around = AROUND.format(
        folder=folder,
        port=port,
        user="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
        modules="\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in names),
    )
    link = re.search(r"link to `(/callback\?logout=[^`]*)`", PAGE)
    assert link
    way_out = link[1].replace("https%3A%2F%2Fbuzon.example.com", f"http%3A%2F%2F127.0.0.1%3A{port}")
    (folder / "apache.conf").write_text(
        around + pasted("apache", house.provider.issuer, here) + "DirectoryIndex index.shtml\n"
    )
    own = {"PATH": "/usr/sbin:/usr/bin:/bin", **environment(client)}
    command = [program, "-f", str(folder / "apache.conf"), "-DFOREGROUND"]
    with application(command, folder, own, f"{here}/signed-out"):
        assert not walk(house, here, way_out=way_out).is_signed_in()


def test_the_options_of_the_registration_are_there() -> None:
    options = {option for each in client_commands.commands["add"].params for option in each.opts}
    block = re.search(r"^idp client add .*?```", PAGE, re.DOTALL | re.MULTILINE)
    assert block
    assert set(re.findall(r"--[a-z-]+", block[0])) <= options
