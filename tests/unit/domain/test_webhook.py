"""A webhook leads to the public internet, and nowhere else."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from service.domain.webhook import check_url, is_public


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::1",
        "2001:0:7f00:1::1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_addresses_of_a_network_of_ones_own_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example.com/a?b=c", "https://example.com:8443", "http://hooks.inside/x"],
)
def test_a_webhook_may_be_there(url: str) -> None:
    check_url(url, {"hooks.inside"})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://",
        "https:///path",
        "https://ada:secret@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:x/",
        "https://hooks.example.com/ a",
        "https://hooks.example.com/\n",
        "https://bücher.example/",
        "https://hooks_example.com/",
        "https://hooks..example.com/",
        "https://hooks-.example.com/",
        "https://" + "x" * 64 + ".example.com/",
        "https://" + "x." * 126 + "example.com/",
        "https://hooks.example.com./",
        "http://other.inside/",
        "https://example.com/" + "x" * 2_000,
    ],
)
def test_a_webhook_may_not_be_there(url: str) -> None:
    with pytest.raises(ValueError, match="webhook's url") as refused:
        check_url(url, {"hooks.inside"})

    assert "example" not in str(refused.value)
