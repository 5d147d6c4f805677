"""Which addresses a tenant's URL may lead to."""

import ipaddress
import socket
from typing import Any

import pytest

from scloud.lib import destinations
from scloud.lib.destinations import Destinations, networks
from scloud.lib.errors import InvalidInput

PUBLIC = [
    "93.184.216.34",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.169.0.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450::1",
    "2001:4860::8888",
    # NAT64, mapped and 6to4 forms of public addresses.
    "64:ff9b::5db8:d822",
    "64:ff9b::808:808",
    "::ffff:93.184.216.34",
    "2002:5db8:d822::1",
]
FORBIDDEN = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "64:ff9b:1:ffff::5db8:d822",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "3fff::1",
    "2002:a00:1::1",
    "2002:7f00:1::",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_permitted(text: str) -> None:
    assert Destinations().permits(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", FORBIDDEN)
def test_all_others_are_not(text: str) -> None:
    assert not Destinations().permits(ipaddress.ip_address(text))


def test_an_operator_opens_private_networks_in_every_spelling() -> None:
    places = Destinations(allowed=networks(["10.1.0.0/16", "fd00:1::/32"]))
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00:1::5"):
        assert places.permits(ipaddress.ip_address(text))
    for text in ("10.2.2.3", "fd00:2::5"):
        assert not places.permits(ipaddress.ip_address(text))


def test_the_platforms_own_networks_are_closed_whatever_else_is_said() -> None:
    places = Destinations(
        allowed=networks(["10.0.0.0/8"]), platform=networks(["10.1.2.0/24", "93.184.216.34"])
    )
    assert places.permits(ipaddress.ip_address("10.1.3.1"))
    for text in ("10.1.2.9", "93.184.216.34", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"):
        assert not places.permits(ipaddress.ip_address(text))


def test_a_public_address_of_this_machine_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert destinations.is_of_this_machine(ipaddress.ip_address("127.0.0.1"))
    assert not destinations.is_of_this_machine(ipaddress.ip_address("93.184.216.34"))
    monkeypatch.setattr(destinations, "is_public", lambda address: True)
    assert not Destinations().permits(ipaddress.ip_address("127.0.0.1"))


def test_settings_and_registered_machines_are_taken_together(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCLOUD_PLATFORM_NETWORKS = ["8.8.8.0/24"]
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = ["10.0.0.0/8"]
    settings.SCLOUD_IMPORT_PORTS = [8080]
    settings.SCLOUD_VNC_GATEWAY_ADDRESS = "8.8.4.4"
    monkeypatch.setattr(destinations, "_providers", [lambda: ["10.0.0.7", "0.0.0.0", "a-name"]])
    places = destinations.configured()
    for text in ("8.8.8.8", "8.8.4.4", "10.0.0.7"):
        assert not places.permits(ipaddress.ip_address(text))
    assert places.permits(ipaddress.ip_address("10.0.0.8"))
    assert places.ports == {8080}


def test_a_redirection_to_a_host_with_other_letters_is_followed() -> None:
    location = "http://bücher.example/ä b".encode().decode("latin-1")
    found = Destinations().redirect("http://example.org/", location)
    assert found == "http://xn--bcher-kva.example/%C3%A4%20b"


@pytest.mark.parametrize(
    "location", ["//user:x@example.org/", "ftp://example.org/", "http://exa mple.org/", "http://["]
)
def test_a_redirection_to_what_is_no_plain_url_is_refused(location: str) -> None:
    with pytest.raises(InvalidInput):
        Destinations().redirect("http://example.org/", location)


def test_names_are_resolved_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("64:ff9b::5db8:d822", port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert Destinations().resolve("example.org", 80) == ["64:ff9b::5db8:d822"]
