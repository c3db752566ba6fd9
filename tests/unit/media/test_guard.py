"""Which URLs may be asked, and which addresses may be dialled. No network: names are resolved by a table."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import httpcore
import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.guard import BadUrl, GuardedBackend, check_url_shape, is_public, parse_url
from orbyt_worker.media.relay import LOOPBACK

PUBLIC = "93.184.216.34"

INVALID = (
    "",
    "not a url",
    "ftp://example.com/a.mp4",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https:///a.mp4",
    "https://",
    "//example.com/a.mp4",
    "https://user:secret@example.com/a.mp4",
    "https://user@example.com/a.mp4",
    "https://example.com\\@10.0.0.1/a.mp4",
    "https://example.com/a b.mp4",
    "https://example.com/a\r\nHost: evil",
    "https://example.com/\x00",
    "https://exa%6dple.com/",
    "https://%31%32%37.0.0.1/",
    "https://example.com:99999/",
    "https://example.com:port/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://-bad-.com/",
    "https://a..b.com/",
    "https://example.com/" + "a" * 5000,
)
FORBIDDEN = (
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://169.254.169.254/latest/meta-data/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:5ef5:79fd::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://localhost/",
    "https://app.localhost/",
    "https://LOCALHOST./",
    "https://metadata.google.internal/",
    "https://printer.local/",
    "https://database/",
    "https://example.com:8443/",
    "https://example.com:22/",
)


@pytest.mark.parametrize("url", INVALID)
def test_text_that_is_no_url(url: str) -> None:
    problem = check_url_shape(url, sandbox=False)
    assert problem is not None
    assert problem.code == ErrorCode.MEDIA_URL_INVALID
    assert "secret" not in problem.detail


@pytest.mark.parametrize("url", FORBIDDEN)
def test_addresses_inside_a_network(url: str) -> None:
    problem = check_url_shape(url, sandbox=False, field="media[3].url")
    assert problem is not None
    assert (problem.code, problem.field) == (ErrorCode.MEDIA_URL_FORBIDDEN, "media[3].url")


def test_plain_http_is_for_the_sandbox() -> None:
    problem = check_url_shape("http://example.com/a.mp4", sandbox=False)
    assert problem is not None
    assert problem.code == ErrorCode.MEDIA_URL_NOT_HTTPS
    assert check_url_shape("http://example.com/a.mp4", sandbox=True) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.mp4",
        "https://example.com:443/a.mp4?X-Amz-Signature=1#part",
        "HTTPS://EXAMPLE.COM/A.mp4",
        "https://93.184.216.34/a.mp4",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/a.mp4",
        "https://bücher.example/ä.mp4",
        "https://example.com/a%20b.mp4",
    ],
)
def test_public_addresses_pass(url: str) -> None:
    assert check_url_shape(url, sandbox=False) is None


def test_the_sandbox_opens_named_servers_only() -> None:
    allowed = frozenset({"127.0.0.1:8123"})
    assert check_url_shape("http://127.0.0.1:8123/a.mp4", sandbox=True, allowed_hosts=allowed) is None
    for url in ("http://127.0.0.1:8124/a.mp4", "http://127.0.0.2:8123/", "http://10.0.0.1/", "http://169.254.169.254/"):
        problem = check_url_shape(url, sandbox=True, allowed_hosts=allowed)
        assert problem is not None
        assert problem.code == ErrorCode.MEDIA_URL_FORBIDDEN


def test_a_url_is_taken_apart_once() -> None:
    url = parse_url("https://Example.COM./ä b.mp4?token=x&y=ü#frag".replace(" ", "%20"))
    assert (url.host, url.port, url.path) == ("example.com", 443, "/%C3%A4%20b.mp4")
    assert url.target == "/%C3%A4%20b.mp4?token=x&y=%C3%BC"
    assert "token" not in repr(url)
    assert url.join("//other.example/x") == "https://other.example/x"
    assert url.join("../y") == "https://example.com:443/y"
    with pytest.raises(BadUrl):
        parse_url("gopher://example.com")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        (f"::ffff:{PUBLIC}", True),
        ("64:ff9b::5db8:d822", True),  # what DNS64 answers for a public host
        ("64:ff9b::a00:1", False),
        ("::ffff:10.0.0.1", False),
        ("::7f00:1", False),
        ("192.88.99.1", False),
        ("198.18.0.1", False),
        ("240.0.0.1", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("2001:20::1", False),
    ],
)
def test_public_means_global_unicast(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


# --- Connecting -------------------------------------------------------------------------------------------------------


class Answers:
    """A resolver that gives its answers one after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self.left = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.left.pop(0)


class Dialler(httpcore.AsyncNetworkBackend):
    """Remembers whom it was told to call; nobody answers at `dead`."""

    def __init__(self, *dead: str) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.dead = dead

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectError("nobody there")
        return httpcore.AsyncMockStream([])


async def dial(resolve: Any, host: str = "rebind.example", **options: Any) -> Dialler:
    dialler = options.pop("dialler", None) or Dialler()
    await GuardedBackend(resolve, dialler=dialler, **options).connect_tcp(host, 443)
    return dialler


async def test_the_address_that_was_checked_is_the_one_dialled() -> None:
    """DNS rebinding: a name that is public when looked at and private a moment later."""
    resolve = Answers([PUBLIC], ["127.0.0.1"])
    dialler = Dialler()
    backend = GuardedBackend(resolve, dialler=dialler)
    await backend.connect_tcp("rebind.example", 443)
    assert (dialler.dialled, resolve.asked) == ([(PUBLIC, 443)], ["rebind.example"])
    with pytest.raises(Failure) as caught:
        await backend.connect_tcp("rebind.example", 443)
    assert caught.value.code == ErrorCode.MEDIA_URL_FORBIDDEN
    assert dialler.dialled == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "hidden", ["10.0.0.1", "::1", "::ffff:192.168.0.1", "169.254.169.254", "fd00::1", "not an address"]
)
async def test_one_private_address_among_public_ones_is_enough(hidden: str) -> None:
    dialler = Dialler()
    with pytest.raises(Failure) as caught:
        await dial(Answers([PUBLIC, hidden]), dialler=dialler)
    assert caught.value.code == ErrorCode.MEDIA_URL_FORBIDDEN
    assert dialler.dialled == []


async def test_the_next_checked_address_is_tried() -> None:
    dialler = await dial(Answers([PUBLIC, "93.184.216.35"]), dialler=Dialler(PUBLIC))
    assert dialler.dialled == [(PUBLIC, 443), ("93.184.216.35", 443)]


async def test_a_number_is_not_resolved() -> None:
    resolve = Answers()
    assert (await dial(resolve, PUBLIC)).dialled == [(PUBLIC, 443)]
    with pytest.raises(Failure):
        await dial(resolve, "10.1.2.3")


async def test_hosts_of_the_operator_may_be_inside() -> None:
    dialler = await dial(Answers(["10.0.0.7"]), "mux.proxy.example", allowed_hosts=frozenset({"mux.proxy.example:443"}))
    assert dialler.dialled == [("10.0.0.7", 443)]


@pytest.mark.parametrize("answer", [[], [PUBLIC] * 100])
async def test_no_or_too_many_addresses(answer: list[str]) -> None:
    with pytest.raises(Failure) as caught:
        await dial(Answers(answer))
    assert caught.value.code == ErrorCode.MEDIA_SOURCE_UNAVAILABLE


async def test_a_name_that_does_not_resolve() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(Failure) as caught:
        await dial(resolve)
    assert caught.value.code == ErrorCode.MEDIA_SOURCE_UNAVAILABLE


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4567/v.mp4", "http://localhost:4567/v.mp4", "http://[::1]:4567/v.mp4"]
)
def test_any_port_of_this_machine_only_in_the_sandbox(url: str) -> None:
    assert check_url_shape(url, True, allowed_hosts=LOOPBACK) is None
    refused = check_url_shape(url, False)
    assert refused is not None
    assert refused.code == ErrorCode.MEDIA_URL_NOT_HTTPS


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2:4567/v.mp4", "http://10.0.0.1/v.mp4", "http://127.0.0.1.example.internal/v.mp4"]
)
def test_the_rest_of_the_network_is_refused_in_the_sandbox_too(url: str) -> None:
    refused = check_url_shape(url, True, allowed_hosts=LOOPBACK)
    assert refused is not None
    assert refused.code == ErrorCode.MEDIA_URL_FORBIDDEN
