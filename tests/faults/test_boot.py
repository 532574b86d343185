"""What cannot be right at boot is refused there: which it is, is said, and what it holds is not."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from idp.cli.main import main
from tests.serving import IDP, clean_environment

SECRET = "un secreto que no debe verse en ningun sitio 7"
Serve = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, keys_folder: Path) -> Path:
    for path in keys_folder.glob("*.pem"):
        path.chmod(0o600)
    return tmp_path


def deployment(folder: Path) -> dict[str, str]:
    return {
        "IDP_SECRET_KEY": SECRET,
        "IDP_ISSUER": "https://llave.example",
        "IDP_DATABASE_URL": f"sqlite:///{folder}/idp.db",
        "IDP_KEYS_DIR": str(folder / "keys"),
    }


@pytest.fixture
def serve(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Serve:
    """The exit code of `idp serve` with these settings, and what it wrote. One that would serve says so with 0."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("IDP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("granian.Granian.serve", lambda *_arguments, **_named: sys.exit(0))
    monkeypatch.setattr(sys, "argv", ["idp", "serve", "--workers", "1"])

    def run(**settings: str) -> tuple[int, str]:
        for name, value in {**deployment(folder), **settings}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), "".join(capfd.readouterr())

    return run


def test_with_nothing_wrong_it_serves(serve: Serve) -> None:
    assert serve()[0] == 0
    assert serve(IDP_REDIS_URL="redis://127.0.0.1:6379/0")[0] == 0


def test_it_is_made_once_for_all_workers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def give_to_two_workers(*_arguments: object, target_loader: Callable[[], object], **_named: object) -> None:
        given.extend((target_loader(), target_loader()))
        sys.exit(0)

    monkeypatch.setattr("granian.Granian.serve", give_to_two_workers)
    assert serve()[0] == 0
    assert given[0] is given[1]


@pytest.mark.spec("F-17", "O-1", "D-75")
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"IDP_ISSUER": "http://llave.example"}, "IDP_ISSUER"),
        ({"IDP_SECRET_KEY": "corto12"}, "IDP_SECRET_KEY"),
        ({"IDP_SECRET_KEY": "changeme"}, "IDP_SECRET_KEY"),
        ({"IDP_TEST_CAPTCHA_SOCKET": "socket"}, "IDP_TEST_CAPTCHA_SOCKET"),
        ({"IDP_ALLOW_LOOPBACK_CLIENTS": "1"}, "IDP_ALLOW_LOOPBACK_CLIENTS"),
        ({"IDP_SECRET_KEI": SECRET}, "IDP_SECRET_KEI"),
        ({"IDP_MAIL_PORT": "veinticinco"}, "IDP_MAIL_PORT"),
        ({"IDP_DATABASE_URL": f"no es una URL {SECRET}"}, "IDP_DATABASE_URL"),
        ({"IDP_REDIS_URL": f"no es una URL {SECRET}"}, "IDP_REDIS_URL"),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_not_shown(serve: Serve, settings: dict[str, str], named: str) -> None:
    code, said = serve(**settings)
    assert code == 1, said
    assert named in said
    assert SECRET not in said
    assert "Traceback" not in said
    assert said.count("\n") == 1, said


@pytest.mark.spec("F-17", "O-1")
@pytest.mark.parametrize("how", ["empty", "foreign", "readable", "gone"])
def test_a_key_that_cannot_be_used_is_named_and_not_shown(folder: Path, serve: Serve, how: str) -> None:
    key = sorted((folder / "keys").glob("*ES256*.pem"))[0]
    if how == "empty":
        key.write_bytes(b"")
    elif how == "foreign":
        key.write_text(SECRET)
    elif how == "readable":
        key.chmod(0o644)
    else:
        key.unlink()
    code, said = serve()
    assert code == 1, said
    assert ("ES256" if how == "gone" else key.name) in said
    assert SECRET not in said
    assert "Traceback" not in said


@pytest.mark.spec("F-17")
def test_a_key_that_may_not_be_read_is_named(folder: Path) -> None:
    key = sorted((folder / "keys").glob("*ES256*.pem"))[0]
    key.chmod(0)
    # Root reads every file by these two rights, which a service does not have.
    before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*before, *IDP, "serve"],
        cwd=folder,
        env=clean_environment(deployment(folder)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert (done.returncode, "keys" in said) == (1, True), said
    assert SECRET not in said
    assert "Traceback" not in said
