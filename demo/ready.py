"""Waits until every part of the demo answers, then says what there is to see; stays, so that Honcho does too."""

import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

import click

from demo.people import ANSWER, USERS, DemoUser, read_users
from demo.places import DEFAULT_PORT, ROOT, DemoProblem, Places
from demo.standing import Standing, find_standings
from idp.app import create_app
from idp.web.current import EXTENSION

PATIENCE = 60.0  # seconds until a part that does not answer is given up
BETWEEN = 0.1


def answers(url: str) -> bool:
    """Whether `url` answers 200."""
    # No proxy of the caller's environment: everything is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for_all(places: Places) -> None:
    """Return once all parts answer; `DemoProblem` naming the one that does not in time."""
    parts = {
        "identity provider": f"{places.provider}/health/ready",
        "example mailbox": f"{places.mailbox}/health",
        "mail inbox page": f"{places.inbox}/health",
    }
    deadline = time.monotonic() + PATIENCE
    for part, url in parts.items():
        click.echo(f"  waiting for the {part}")
        while not answers(url):
            if time.monotonic() > deadline:
                raise DemoProblem(f"The {part} does not answer at {url}. Its words are in {places.log_file}")
            time.sleep(BETWEEN)


_REMARKS = {
    Standing.EXPIRED: "expired: sign in and choose another",
    Standing.LOCKED: "locked",
    Standing.DISABLED: "disabled",
}


def describe(places: Places, standings: Mapping[str, Standing]) -> str:
    """The page that greets whoever started the demo: how things stand now, not how they were made."""
    users = read_users(places)
    rows = [_row(user, users[user.username]["password"], standings[user.username]) for user in USERS]
    folder = places.folder.relative_to(ROOT) if places.folder.is_relative_to(ROOT) else places.folder
    anew = f"rm -r {folder}"
    rule = "─" * 78
    return "\n".join(
        [
            rule,
            "  Llavero is ready. Ctrl-C ends everything; the next run keeps the data.",
            "",
            f"    Invoice mailbox     {places.mailbox:<24}  begin here",
            f"    Identity provider   {places.provider}",
            f"    Mail inbox          {places.inbox}",
            "",
            "  Users and passwords",
            *rows,
            "",
            f"  Secret question: the favourite dish; answer: {ANSWER}",
            "",
            "  Try",
            *_tries(places, standings, str(folder), anew),
            "",
            f"  Logs: {folder}/demo.log    Begin anew: {anew}",
            rule,
        ]
    )


def _row(user: DemoUser, password: str, standing: Standing) -> str:
    match standing:
        case Standing.INVITED:
            shown = "— (its invitation is in the mail inbox)"
        case Standing.CHANGED:
            shown = "— (you have chosen its password)"
        case Standing.GONE:
            shown = "— (removed)"
        case _:
            remark = _REMARKS.get(standing)
            shown = password if remark is None else f"{password}  ({remark})"
    return f"    {user.kind:<10}{user.username:<20}{shown}"


def _tries(places: Places, standings: Mapping[str, Standing], folder: str, anew: str) -> list[str]:
    name = {user.kind: user.username for user in USERS}
    idp = f".venv/bin/honcho -e {folder}/demo.env run .venv/bin/idp"
    again = "make demo" if places.port == DEFAULT_PORT else f"make demo DEMO_PORT={places.port}"
    stands = {kind: standings[username] for kind, username in name.items()}
    locked = f"as {name['locked']} is already; its mail is in the inbox."
    if stands["locked"] is not Standing.LOCKED:
        locked = f"as {name['locked']} was until you opened it."
    expired = f"Sign in as {name['expired']}: the password has expired, and is changed on the way."
    if stands["expired"] is not Standing.EXPIRED:
        expired = f"{name['expired']} had an expired password; you have changed it. Anew: {anew}"
    expiring = f"{name['expiring']} is warned on the page and by mail."
    if stands["expiring"] is Standing.EXPIRED:
        expiring = f"The password of {name['expiring']} has expired by now."
    elif stands["expiring"] is not Standing.GOOD:
        expiring = f"{name['expiring']} was warned on the page and by mail, before you changed that."
    invited = f"Open the invitation of {name['invited']} in the inbox: password, question, done."
    if stands["invited"] is not Standing.INVITED:
        invited = f"{name['invited']} was invited and has been activated. Anew: {anew}"
    return [
        f"    1. Open {places.mailbox}, press Entrar, sign in as the client, allow, and",
        "       download an invoice: those of the last 90 days are there, the rest is in safekeeping.",
        "    2. Type a wrong password: the alert, then the image with characters. At the third",
        f"       the user is locked, {locked}",
        "    3. ¿Olvidó su contraseña?: answer the question, or press Enviar recordatorio",
        f"       and open the link that arrives at {places.inbox}",
        f"    4. {expired}",
        f"       {expiring}",
        f"    5. {invited}",
        f"    6. Your own account: {places.provider}/account    All components: {places.provider}/styleguide",
        f"    7. Open a locked user as an operator would: {idp} account unlock {name['locked']}",
        f"    8. Show invoices of your own: {again} DEMO_CFDI=folder/of/cfdi",
    ]


def main() -> int:
    """Wait, speak, stay."""
    places = Places.from_environment()
    try:
        standings = find_standings(read_users(places), create_app().extensions[EXTENSION])
        wait_for_all(places)
    except DemoProblem as problem:
        click.echo(str(problem))
        return 1
    click.echo(describe(places, standings))
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
