"""The demo refuses ports and folders that it cannot use, and says which."""

import socket
from pathlib import Path

import pytest

from demo.places import DemoProblem, Places, check_ports


def test_without_settings_the_addresses_are_those_of_the_documentation() -> None:
    places = Places.from_environment({})
    assert places.provider == "http://localhost:5000"
    assert places.mailbox == "http://127.0.0.1:5001"
    assert places.inbox == "http://127.0.0.1:5002"
    assert places.smtp_port == 5025


def test_other_ports_have_data_of_their_own() -> None:
    assert Places.from_environment({"DEMO_PORT": "6000"}).folder != Places.from_environment({}).folder


@pytest.mark.parametrize("port", ["x", "80", "65536", "-1"])
def test_a_port_that_cannot_be_is_refused(port: str) -> None:
    with pytest.raises(DemoProblem, match="DEMO_PORT"):
        Places.from_environment({"DEMO_PORT": port})


def test_a_folder_of_invoices_must_exist(tmp_path: Path) -> None:
    assert Places.from_environment({"DEMO_CFDI": str(tmp_path)}).cfdi == tmp_path
    with pytest.raises(DemoProblem, match="nowhere"):
        Places.from_environment({"DEMO_CFDI": str(tmp_path / "nowhere")})


@pytest.mark.enable_socket
@pytest.mark.parametrize("offset", [0, 1, 2, 25])
def test_a_port_in_use_is_named(offset: int, free_port: int) -> None:
    places = Places.from_environment({"DEMO_PORT": str(free_port)})
    check_ports(places)
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port + offset))
        other.listen()
        with pytest.raises(DemoProblem, match=f"Port {free_port + offset} is in use"):
            check_ports(places)
    check_ports(places)
