"""The examples of `deploy/` are what the programs that read them take, and what the server knows."""

import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import yaml

from idp import policy
from idp.settings import Settings
from tests.serving import free_port

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
TEXTS = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Every pod that the manifests make, by name."""
    found = [each for path in KUBERNETES for each in documents(path) if each.get("kind") in {"Deployment", "Job"}]
    return [(each["metadata"]["name"], each["spec"]["template"]["spec"]) for each in found]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """A folder with a certificate and its key."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = authority.issue_cert("cuenta.example.com", "127.0.0.1")
    folder = tmp_path / "tls"
    folder.mkdir()
    made.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    for pem in made.cert_chain_pems:
        pem.write_to_path(str(folder / "fullchain.pem"), append=True)
    return folder


def test_every_setting_is_one_of_ours() -> None:
    ours = {f"IDP_{each.name.upper()}" for each in fields(Settings)}
    found = {name for path in TEXTS for name in re.findall(r"\bIDP_[A-Z_]+\b", path.read_text())}
    assert {"IDP_ISSUER", "IDP_REDIS_URL"} <= found <= ours


def test_the_settings_of_the_example_are_accepted_once_filled_in(tmp_path: Path) -> None:
    lines = (DEPLOY / "llavero.env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line.startswith("IDP_"))
    assert given["IDP_SECRET_KEY"] == ""  # nobody runs with a sample (O-1)
    given["IDP_SECRET_KEY"] = "0123456789abcdef0123456789abcdef"
    assert Settings.from_environment(given, folder=tmp_path).is_production


@pytest.mark.spec("O-1")
def test_no_example_holds_a_secret() -> None:
    for path in TEXTS:
        assert "PRIVATE KEY" not in path.read_text()
        assert not re.search(r"(SECRET_KEY|PASSWORD)[ \t]*[:=][ \t]*['\"]?[^\s'\"$<{…]{8,}", path.read_text()), path


def test_compose_names_what_is_there() -> None:
    made = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = made["services"]
    assert {"migrate", "node-a", "node-b", "worker", "database", "redis", "proxy"} == set(services)
    for name, service in services.items():
        assert set(service.get("networks", ())) <= set(made["networks"]), name
        assert set(service.get("depends_on", ())) <= set(services), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in made["volumes"] or source == "./tls" or (DEPLOY / source).exists(), volume
    assert (DEPLOY / services["node-a"]["build"]["context"] / services["node-a"]["build"]["dockerfile"]).exists()
    # Only the proxy is reached from outside; the database and Redis reach nothing.
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert services["database"]["networks"] == services["redis"]["networks"] == ["back"]
    assert made["networks"]["back"]["internal"] is True
    subnet = made["networks"]["proxied"]["ipam"]["config"][0]["subnet"]
    assert f"IDP_TRUSTED_PROXIES={subnet}\n" in (DEPLOY / "llavero.env.example").read_text()
    assert "noeviction" in services["redis"]["command"]


def test_every_pod_of_ours_has_no_more_than_it_needs() -> None:
    assert {name for name, _ in pods()} == {"llavero", "llavero-worker", "llavero-migrate"}
    for name, pod in pods():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        (container,) = pod["containers"]
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True, name
        assert own["allowPrivilegeEscalation"] is False, name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.spec("O-3", "F-12", "F-16")
def test_a_rolling_update_of_the_manifests_loses_no_request() -> None:
    (deployment,) = [each for each in documents(DEPLOY / "kubernetes/nodes.yaml") if each["kind"] == "Deployment"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    # A node in front of a database that hangs says 503 by its own deadline, rather than being taken for dead.
    assert container["readinessProbe"]["timeoutSeconds"] > policy.STORE_DEADLINE.total_seconds()


def test_the_kustomization_takes_all_that_is_there() -> None:
    (made,) = documents(DEPLOY / "kubernetes/kustomization.yaml")
    assert set(made["resources"]) == {path.name for path in KUBERNETES} - {"kustomization.yaml"}


def test_nginx_takes_its_example(tls: Path, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        pytest.skip("nginx is missing: apt-get install nginx-light")
    text = (DEPLOY / "nginx/nginx.conf").read_text()
    # Older ones than the image's: `http2` was part of `listen`.
    text = text.replace("listen 443 ssl;\n        http2 on;", "listen 443 ssl http2;")
    text = text.replace("/etc/nginx/tls", str(tls)).replace("/run/nginx.pid", str(tmp_path / "pid"))
    text = re.sub(r"server node-[ab]:", "server 127.0.0.1:", text)
    (tmp_path / "nginx.conf").write_text(text)
    done = run(nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_command_line_beside_the_units_has_their_settings_and_the_callers_before_them(tmp_path: Path) -> None:
    (tmp_path / "llavero.env").write_text(
        "# ours\nIDP_ISSUER=https://a.example\nIDP_DATABASE_URL='postgresql://a/a?b&c'\n"
    )
    text = (DEPLOY / "systemd/llavero-idp").read_text()
    text = text.replace("/etc/llavero", str(tmp_path)).replace("/var/lib/llavero", str(tmp_path))
    (tmp_path / "llavero-idp").write_text(re.sub(r"exec setpriv .*", "env", text))

    def settings(**environment: str) -> set[str]:
        done = subprocess.run(
            ["sh", str(tmp_path / "llavero-idp")], env=environment, capture_output=True, text=True, check=True
        )
        return {line for line in done.stdout.splitlines() if line.startswith("IDP_")}

    assert settings() == {"IDP_ISSUER=https://a.example", "IDP_DATABASE_URL=postgresql://a/a?b&c"}
    assert settings(IDP_DATABASE_URL="postgresql://a/it's empty?b&c") == {
        "IDP_ISSUER=https://a.example",
        "IDP_DATABASE_URL=postgresql://a/it's empty?b&c",
    }


@pytest.fixture
def apache(tls: Path, tmp_path: Path) -> list[str]:
    """The command that runs Apache with its example on the ports of `tmp_path/ports`, before nodes that are away."""
    program, modules = shutil.which("apache2") or shutil.which("/usr/sbin/apache2"), Path("/usr/lib/apache2/modules")
    if program is None or not modules.is_dir():
        pytest.skip("Apache is missing: apt-get install apache2")
    text = (DEPLOY / "apache/llavero.conf").read_text()
    wanted = re.findall(
        r"[a-z_0-9]+", re.sub(r"[\n#]", " ", text[text.index("Modules:") + 8 : text.index(": a2enmod")])
    )
    plain, secure = free_port(), free_port()
    (tmp_path / "ports").write_text(f"{plain} {secure}")
    own = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in ("mpm_event", "authz_core", *wanted)]
    own += [f"Listen 127.0.0.1:{plain}", f"Listen 127.0.0.1:{secure}", f"ErrorLog {tmp_path}/error.log"]
    own += [f"PidFile {tmp_path}/pid", f"DefaultRuntimeDir {tmp_path}", f"DocumentRoot {tmp_path}"]
    if os.geteuid() == 0:
        own += ["User www-data", "Group www-data"]
    text = text.replace("/etc/llavero/tls", str(tls)).replace("${APACHE_LOG_DIR}", str(tmp_path))
    text = re.sub(r"http://10\.0\.0\.1[12]:8000", f"http://127.0.0.1:{free_port()}", text)
    text = text.replace("*:80>", f"*:{plain}>").replace("*:443>", f"*:{secure}>")
    (tmp_path / "httpd.conf").write_text("\n".join([f"ServerRoot {tmp_path}", *own, text]))
    return [program, "-f", str(tmp_path / "httpd.conf")]


@pytest.mark.enable_socket
def test_apache_takes_its_example(apache: list[str], tmp_path: Path) -> None:
    done = run(*apache, "-t", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.enable_socket
@pytest.mark.spec("O-3")
def test_apache_lets_nobody_ask_a_node_for_its_health_or_figures(apache: list[str], tmp_path: Path) -> None:
    port = (tmp_path / "ports").read_text().split()[1]
    process = subprocess.Popen([*apache, "-D", "FOREGROUND"], cwd=tmp_path)
    try:
        until = time.monotonic() + 20
        found: dict[str, int] = {}
        while not found and time.monotonic() < until:
            with suppress(requests.ConnectionError):
                for path in ("/health/ready", "/metrics", "/login"):
                    url = f"https://127.0.0.1:{port}{path}"
                    found[path] = requests.get(url, verify=str(tmp_path / "ca.pem"), timeout=10).status_code
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(20)
    # Whatever is passed on finds nobody.
    assert found == {"/health/ready": 404, "/metrics": 404, "/login": 503}


def test_systemd_takes_its_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    program = tmp_path / "idp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        text = unit.read_text().replace("/srv/llavero/.venv/bin/idp", str(program))
        # The account is made by whoever installs it.
        (tmp_path / unit.name).write_text(text.replace("User=llavero", "User=root").replace("Group=llavero", ""))
    units = [str(path) for path in sorted(tmp_path.glob("*.service"))]
    assert len(units) == 3
    done = run(analyze, "verify", "--man=no", "--recursive-errors=no", *units, cwd=tmp_path)
    ours = [line for line in done.stderr.splitlines() if "llavero" in line or str(tmp_path) in line]
    assert ours == [], done.stderr
