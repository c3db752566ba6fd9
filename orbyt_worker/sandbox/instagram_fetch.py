"""How Instagram gets what an address names: it downloads the file itself, once, from where anybody could.

After Meta "IG User Media" and "Content Publishing" (read September 2026): the address is of US-ASCII characters, needs no
login and is reachable by everybody. Loopback counts as reachable here, because the sandbox's own hosts live there
(`configure(allow_loopback=False)` takes that back); private and link-local networks never do.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
import tempfile
from dataclasses import dataclass
from typing import IO
from urllib.parse import urljoin, urlsplit

import httpx

from orbyt_worker.sandbox.wire import tls_context

REDIRECTS_MAX = 3
URL_CHARACTERS_MAX = 2_000
_AGENT = "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"
_PIECE_BYTES = 256 * 1024
_UNREADABLE = (
    "Only photo or video can be accepted as media type. The media could not be fetched from this URI: {address}. {why}"
)


class MediaProblem(Exception):
    """Why Instagram does not take a file: code and subcode of "Instagram Platform Error Codes", and a text for people."""

    def __init__(self, code: int, subcode: int, text: str) -> None:
        super().__init__(f"{code}/{subcode}: {text}")
        self.code = code
        self.subcode = subcode
        self.text = text


def unfetchable(url: str, why: str) -> MediaProblem:
    """9004/2207052; the address is named without its query, which may be signed."""
    return MediaProblem(9004, 2207052, _UNREADABLE.format(address=shown(url), why=why))


def shown(url: str) -> str:
    """An address without what may be a secret in it."""
    return url.partition("?")[0].encode("ascii", "replace").decode()[:200]


@dataclass(slots=True)
class Fetched:
    """A downloaded file, in an unnamed temporary file: nothing of it is left when the process ends."""

    file: IO[bytes]
    address: str
    size_bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """`seconds` for everything, redirects included. One byte more than `bytes_max` is read at most."""

    bytes_max: int
    seconds: float
    allow_loopback: bool = True


def check_address(url: str) -> None:
    """What can be said about an address without asking anybody."""
    if not url.isascii() or any(character <= " " for character in url):
        raise unfetchable(url, "The address must be of US-ASCII characters.")
    if len(url) > URL_CHARACTERS_MAX:
        raise unfetchable(url, f"The address has more than {URL_CHARACTERS_MAX} characters.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise unfetchable(url, "This is no address.") from None
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
        raise unfetchable(url, "The address must be public, http or https, and without a login.")


async def fetch(url: str, limits: FetchLimits) -> Fetched:
    """Download `url`; the caller closes the file. Raises MediaProblem 9004/2207052, or -2/2207003 when it takes too long.

    A file longer than the limit is cut off one byte behind it: the size then says that it is too big.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            return await _follow(url, limits)
    except TimeoutError:
        raise MediaProblem(-2, 2207003, f"It takes too long to download the media from {shown(url)}.") from None


async def _follow(url: str, limits: FetchLimits) -> Fetched:
    address = url
    headers = {"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    # No proxy and no netrc of this machine: Meta has none of them.
    async with httpx.AsyncClient(
        headers=headers, trust_env=False, timeout=limits.seconds, verify=tls_context()
    ) as client:
        for _ in range(REDIRECTS_MAX + 1):
            check_address(address)
            await _check_reachable(address, limits.allow_loopback)
            try:
                async with client.stream("GET", address) as answer:
                    if not answer.has_redirect_location:
                        return await _keep(answer, url, limits.bytes_max)
                    address = urljoin(address, answer.headers["location"])
            except httpx.TimeoutException:
                raise TimeoutError from None
            except httpx.HTTPError as error:
                raise unfetchable(url, f"The connection failed ({type(error).__name__}).") from None
    raise unfetchable(url, f"There are more than {REDIRECTS_MAX} redirects.")


async def _keep(answer: httpx.Response, url: str, bytes_max: int) -> Fetched:
    if answer.status_code != 200:
        raise unfetchable(url, f"The server answered HTTP {answer.status_code}.")
    content_type = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller, who closes it
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in answer.aiter_bytes(_PIECE_BYTES):
            kept = piece[: bytes_max + 1 - size]
            file.write(kept)
            digest.update(kept)
            size += len(kept)
            if size > bytes_max:
                break
        file.seek(0)
        start = file.read(256).lstrip().lower()
        if content_type in {"text/html", "application/xhtml+xml"} or start.startswith((b"<!doctype", b"<html")):
            raise unfetchable(url, "The server answered with a page instead of a file.")
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Fetched(file, shown(url), size, digest.hexdigest(), content_type)


async def _check_reachable(address: str, allow_loopback: bool) -> None:
    """Refuse what only this machine or its network can reach."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise unfetchable(address, "The host is unknown.") from None
    for *_, where in found:
        ip = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if not (ip.is_global or (allow_loopback and ip.is_loopback)):
            raise unfetchable(address, "The host is not public.")
