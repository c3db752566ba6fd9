"""What a source may do in the middle of a transfer, and how the relay goes on. One scripted host per test."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.client import MediaClient
from orbyt_worker.media.relay import MediaRelay
from orbyt_worker.media.source import Interrupted
from orbyt_worker.model import MediaItem, MediaSpec
from orbyt_worker.runtime import Runtime
from tests.media.conftest import PATIENCE, RelayFactory, Request, host, say, say_range

TAG = '"v1"'
PROBED = 2  # requests before the transfer itself: describe for facts, one range for the probe


async def transfer(relay: MediaRelay, url: str) -> bytes:
    async with relay.open(MediaItem("video", url + "/v.mp4"), spec=MediaSpec()) as reader:
        return b"".join([piece async for piece in reader.read(0, reader.size_bytes)])


def is_small(request: Request) -> bool:
    """Looks at the file, as opposed to the transfer, which asks for everything from some byte on."""
    return request.range is not None and request.range[1] is not None and request.range[1] < 1_000_000


async def test_a_broken_transfer_goes_on_where_it_stopped(open_relay: RelayFactory, video_bytes: bytes) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        say_range(writer, request, video_bytes, cut=None if is_small(request) else 1_200_000, etag=TAG)

    async with host(answer) as source, open_relay(source.url) as relay:
        assert await transfer(relay, source.url) == video_bytes
        resumed = [
            each for each in source.requests if each.range is not None and each.range[0] > 0 and not is_small(each)
        ]
        assert [each.range for each in resumed] == [(1_200_000, 2_999_999), (2_400_000, 2_999_999)]
        assert all(each.headers["if-range"] == TAG for each in resumed)
        assert all(each.headers["accept-encoding"] == "identity" for each in source.requests)


async def test_another_version_after_the_break(open_relay: RelayFactory, video_bytes: bytes) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if is_small(request) or request.range is None:
            say_range(writer, request, video_bytes, cut=None if is_small(request) else 1_200_000, etag=TAG)
        else:
            say(writer, 200, video_bytes, etag='"v2"')  # what If-Range asks for when the file is another one

    async with host(answer) as source, open_relay(source.url) as relay:
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
        assert caught.value.code == ErrorCode.MEDIA_CHANGED


async def test_one_edge_with_another_version_is_asked_again(open_relay: RelayFactory, video_bytes: bytes) -> None:
    odd: list[Request] = []

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.range is None:
            say(writer, 200, video_bytes[:1_200_000], content_length=len(video_bytes), etag=TAG)
        elif not is_small(request) and not odd:
            odd.append(request)
            say_range(writer, request, video_bytes, etag='"other edge"')
        else:
            say_range(writer, request, video_bytes, etag=TAG)

    async with host(answer) as source, open_relay(source.url) as relay:
        assert await transfer(relay, source.url) == video_bytes
        assert odd


@pytest.mark.parametrize("etag", [TAG, None])
async def test_no_ranges_after_the_break(etag: str | None, open_relay: RelayFactory, video_bytes: bytes) -> None:
    """Skipped forward when the version is provably the same, given up when nothing proves it."""
    breaks = [1_200_000]

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        first = request.range is None
        cut = breaks.pop() if first and breaks else None
        say(writer, 200, video_bytes[:cut], content_length=len(video_bytes), etag=etag)

    async with host(answer) as source, open_relay(source.url) as relay:
        if etag is not None:
            assert await transfer(relay, source.url) == video_bytes
            return
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
        assert caught.value.code == ErrorCode.MEDIA_SOURCE_UNAVAILABLE


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-2999999/3000000", "bytes 1200001-2999999/3000000", "bytes 1200000-2999998/3000000", "nonsense", None],
)
async def test_another_range_than_asked_for_is_not_used(
    content_range: str | None, open_relay: RelayFactory, video_bytes: bytes
) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.range is None or is_small(request):
            say_range(writer, request, video_bytes, cut=None if is_small(request) else 1_200_000, etag=TAG)
        else:
            say(writer, 206, video_bytes[1_200_000:], content_range=content_range, etag=TAG)

    async with host(answer) as source, open_relay(source.url) as relay:
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
        assert caught.value.code == ErrorCode.MEDIA_SOURCE_UNAVAILABLE
        assert len(source.requests) < 12


async def test_a_file_that_shrank(open_relay: RelayFactory, video_bytes: bytes) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.range is None or is_small(request):
            say_range(writer, request, video_bytes, cut=None if is_small(request) else 1_200_000)
        else:
            say(writer, 416, content_range="bytes */1000000")

    async with host(answer) as source, open_relay(source.url) as relay:
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
        assert caught.value.code == ErrorCode.MEDIA_CHANGED


async def test_silence(open_relay: RelayFactory, video_bytes: bytes) -> None:
    gate = asyncio.Event()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if is_small(request):
            say_range(writer, request, video_bytes, etag=TAG)
        else:
            say_range(writer, request, video_bytes, cut=100_000, etag=TAG)
            await writer.drain()
            await gate.wait()

    quick = PATIENCE.__class__(connect_seconds=1, headers_seconds=1, idle_seconds=0.1)
    async with host(answer) as source, open_relay(source.url, patience=quick) as relay:
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
        gate.set()
        assert caught.value.code == ErrorCode.MEDIA_SOURCE_SLOW


async def test_drops_to_stay_alive(video_bytes: bytes) -> None:
    """A source that sends a little all the time is never silent, and still too slow."""
    clock = iter(range(0, 10_000, 10))
    runtime = Runtime(monotonic=lambda: float(next(clock)))

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        say(writer, 200, video_bytes[:300_000], content_length=len(video_bytes))
        await writer.drain()
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0)

    async with host(answer) as source:
        client = MediaClient(
            runtime, resolve=_nowhere, sandbox=True, allowed_hosts=frozenset({f"127.0.0.1:{source.port}"})
        )
        async with client.request("media.get", "GET", source.url + "/v.mp4") as found:
            with pytest.raises(Interrupted) as caught:
                async for _ in found.pieces():
                    pass
        await client.close()
        assert caught.value.code == ErrorCode.MEDIA_SOURCE_SLOW


async def test_a_source_that_asks_for_patience(open_relay: RelayFactory) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        say(writer, 503, retry_after=120)

    async with host(answer) as source, open_relay(source.url) as relay:
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
        assert (caught.value.code, caught.value.retry_after_seconds) == (ErrorCode.MEDIA_SOURCE_UNAVAILABLE, 120.0)
        assert (caught.value.http_status, len(source.requests)) == (503, 1)


async def test_nobody_listens(open_relay: RelayFactory) -> None:
    async with host(_never) as source:
        pass
    async with open_relay(source.url) as relay:
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
    assert caught.value.code == ErrorCode.MEDIA_SOURCE_UNAVAILABLE


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://10.0.0.1/x", ErrorCode.MEDIA_URL_FORBIDDEN),
        ("https://user:pw@example.com/x", ErrorCode.MEDIA_URL_INVALID),
        ("file:///etc/passwd", ErrorCode.MEDIA_URL_INVALID),
        ("//2130706433/x", ErrorCode.MEDIA_URL_FORBIDDEN),
        ("http://[::ffff:169.254.169.254]/x", ErrorCode.MEDIA_URL_FORBIDDEN),
    ],
)
async def test_each_hop_is_checked(location: str, code: ErrorCode, open_relay: RelayFactory) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        say(writer, 302, location=location)

    async with host(answer) as source, open_relay(source.url) as relay:
        with pytest.raises(Failure) as caught:
            await transfer(relay, source.url)
        assert caught.value.code == code


async def test_credentials_do_not_follow_a_redirect_to_another_host(runtime: Runtime) -> None:
    async def arrive(request: Request, writer: asyncio.StreamWriter) -> None:
        say(writer, 200, b"here")

    async with host(arrive) as second:

        async def send_on(request: Request, writer: asyncio.StreamWriter) -> None:
            say(writer, 307, location="/again" if request.target == "/first" else f"{second.url}/there")

        async with host(send_on) as first:
            allowed = frozenset({f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"})
            client = MediaClient(runtime, resolve=_nowhere, sandbox=True, allowed_hosts=allowed)
            secrets = {"authorization": "Basic planted", "cookie": "planted", "range": "bytes=0-3"}
            async with client.request("media.get", "GET", f"{first.url}/first", headers=secrets) as answer:
                assert await answer.body(100) == b"here"
            await client.close()
    assert [each.headers.get("authorization") for each in first.requests] == ["Basic planted"] * 2
    assert not {"authorization", "cookie"} & set(second.requests[0].headers)
    assert second.requests[0].headers["range"] == "bytes=0-3"


async def test_the_name_is_verified_although_the_address_is_dialled(runtime: Runtime, tmp_path: Path) -> None:
    """TLS: server name and Host header are the name of the URL; a certificate for another name is refused."""
    server_side, client_side, names = _certificate(tmp_path, "media.example.com")

    async def resolve(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        say(writer, 200, b"secure")

    async with host(answer, server_side) as source:
        allowed = frozenset({f"media.example.com:{source.port}", f"other.example.com:{source.port}"})
        client = MediaClient(
            runtime, resolve=resolve, allowed_hosts=allowed, ssl_context=client_side, patience=PATIENCE
        )
        async with client.request("media.get", "GET", f"https://media.example.com:{source.port}/v.mp4") as found:
            assert await found.body(100) == b"secure"
        with pytest.raises(Interrupted, match="certificate"):
            async with client.request("media.get", "GET", f"https://other.example.com:{source.port}/v.mp4"):
                pass
        await client.close()
    assert names == ["media.example.com", "other.example.com"]
    assert [each.headers["host"] for each in source.requests] == [f"media.example.com:{source.port}"]


def _certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext, list[str | None]]:
    """A server context for `name`, a client context that trusts it, and the list of names clients asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "both.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(path)
    names: list[str | None] = []
    server_side.sni_callback = lambda _socket, asked, _context: names.append(asked)
    return server_side, ssl.create_default_context(cafile=str(path)), names


async def _nowhere(name: str, port: int) -> list[str]:
    raise OSError("nothing is resolved here")


async def _never(request: Request, writer: asyncio.StreamWriter) -> None:
    raise AssertionError("nobody should ask")
