"""Chromium, a provider and the example mailbox with synthetic invoices, all on loopback."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.walk import WAIT_MS
from tests.catcher import Catcher
from tests.rig import Rig, rig_in
from tests.serving import (
    ROOT,
    Provider,
    clean_environment,
    free_port,
    start_server,
    stop_server,
    wait_until_it_answers,
)

# What a page waits for does not hold for `expect`, which would give a whole sign-in five seconds.
expect.set_options(timeout=WAIT_MS)

SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
"""Chromium as root in a container, without a graphics card, that speaks to nobody by itself."""

SUPPORT: dict[str, Any] = {
    "IDP_SUPPORT_PHONE": "55 5000 0000",
    "IDP_SUPPORT_EMAIL": "soporte@pac.example",
    "IDP_SUPPORT_HOURS": "lunes a viernes, de 9:00 a 18:00 h",
}
ACCOUNTS = {
    "EKU9003173C9": (),
    "KICR630120NX3": (),
    "CT.KICR630120NX3": ("--organization", "EKU9003173C9"),
    "usr.KICR630120NX3": (),
    "usr.XIA190128J61": (),
}
"""Each test that signs in at the mailbox has one of its own: consent, once given, is not asked for again."""
SCOPES = ("openid", "profile", "rfc", "offline_access", "mailbox:read", "mailbox:download")


@dataclass(frozen=True, slots=True)
class Town:
    """Provider, its mail and the example mailbox, and the passwords of the accounts that have invoices."""

    rig: Rig
    mailbox: str
    passwords: dict[str, str]

    @property
    def provider(self) -> Provider:
        return self.rig.provider

    @property
    def issuer(self) -> str:
        return self.rig.issuer

    @property
    def catcher(self) -> Catcher:
        return self.rig.catcher


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with rig_in(folder / "provider", workers=1, IDP_ALLOW_LOOPBACK_CLIENTS="1", **SUPPORT) as rig:
        provider = rig.provider
        passwords = {username: provider.add_account(username, *options) for username, options in ACCOUNTS.items()}
        port = free_port()
        # Ports share cookies, hosts do not: the provider is `localhost`, the mailbox 127.0.0.1, as in the demo.
        address = f"http://127.0.0.1:{port}"
        client = provider.add_client(
            *("Buzón de facturas", f"{address}/callback"),
            *("--post-logout-redirect-uri", f"{address}/signed-out", "--resource", address),
            *("--backchannel-logout-uri", f"{address}/backchannel-logout"),
            *("--grant", "authorization_code", "--grant", "refresh_token"),
            *(part for scope in SCOPES for part in ("--scope", scope)),
        )
        own = clean_environment(
            {
                "MAILBOX_ISSUER": provider.issuer,
                "MAILBOX_CLIENT_ID": client.client_id,
                "MAILBOX_CLIENT_SECRET": client.client_secret,
                "MAILBOX_SECRET_KEY": secrets.token_urlsafe(32),
                "MAILBOX_URL": address,
                "MAILBOX_CFDI": str(folder / "cfdi"),
                "MAILBOX_INSTANCE": str(folder / "mailbox"),
            }
        )
        (folder / "mailbox").mkdir()
        subprocess.run(
            [sys.executable, "-m", "invoice_mailbox.synthetic", str(folder / "cfdi")],
            env=own,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )
        log = folder / "mailbox.log"
        with log.open("ab") as file:
            command = [
                *(sys.executable, "-m", "granian", "invoice_mailbox.wsgi:app", "--interface", "wsgi"),
                *("--host", "127.0.0.1", "--port", str(port), "--no-ws", "--log-level", "warning"),
            ]
            process = start_server(command, folder=folder, environment=own, log=file)
        try:
            wait_until_it_answers(f"{address}/health", process, log)
            yield Town(rig, address, passwords)
        finally:
            stop_server(process)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is missing: install it with `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    SCREENSHOTS.mkdir(exist_ok=True)
    return SCREENSHOTS
