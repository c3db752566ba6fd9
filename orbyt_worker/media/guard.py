"""Every URL given by a user is hostile: which ones may be asked at all, and which addresses may be dialled.

Two moments, two questions. `check_url_shape` is pure and answers at insert time what can be known without the network
(scheme, port, credentials, numeric hosts). `GuardedBackend` answers when a connection is opened: it resolves the name once,
requires that *every* address is public, and dials one of the addresses it has just checked, so a name that resolves
differently a moment later (DNS rebinding) changes nothing. TLS still verifies the name, since only the TCP connection is ours.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (rows not globally reachable, read 2026-11); RFC 4291 2.5.5.2
(IPv4-mapped), RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo); WHATWG URL, "ends in a number checker".
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Problem

URL_CHARACTERS_MAX = 4_096
HOST_CHARACTERS_MAX = 253
RESOLVE_SECONDS_MAX = 10.0
RESOLVE_THREADS_MAX = 4
# Dialled one after another until one answers; all of them are checked.
ADDRESSES_DIALLED_MAX = 4
ADDRESSES_CHECKED_MAX = 64

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Names that mean "here" or "inside" whatever a resolver says (RFC 6761, RFC 6762, RFC 8375, ICANN's .internal).
_INSIDE_SUFFIXES = ("localhost", "local", "internal", "intranet", "home.arpa", "lan", "corp", "home", "localdomain")

_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform address: public by number, the host by function
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# IPv6 is an allow-list: global unicast is 2000::/3, minus what is carved out of it.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(each)
    for each in (
        "2001::/23",  # protocol assignments, Teredo (2001::/32) among them: it embeds an IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4 embeds an IPv4 address, and no public service lives there any more
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Url:
    """A URL taken apart once. What was checked is what is dialled: no second parser ever sees the text."""

    scheme: str
    host: str  # lower case, ASCII, no trailing dot, no brackets
    port: int
    path: str
    target: str = field(repr=False)  # path and query as sent; may hold a signature

    @property
    def host_port(self) -> str:
        """`example.com:443`, `[::1]:8080`: how allow-lists name a server."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host_port}"

    @property
    def host_header(self) -> str:
        default = 443 if self.scheme == "https" else 80
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == default else f"{name}:{self.port}"

    @property
    def text(self) -> str:
        """The whole URL in ASCII, as it is asked for: what another program may be given instead of the user's text."""
        return f"{self.scheme}://{self.host_header}{self.target}"

    def join(self, location: str) -> str:
        """The absolute text of a redirect's Location, to be parsed and checked like any other URL."""
        return urljoin(self.origin + self.target, location)


class BadUrl(ValueError):
    """The text is no URL we would ask. The message never repeats the URL."""


def parse_url(text: str) -> Url:
    """Take an http(s) URL apart, strictly. Raises BadUrl; whether it may be asked is for `check_url_shape`."""
    if not text or len(text) > URL_CHARACTERS_MAX:
        raise BadUrl(f"a URL has 1 to {URL_CHARACTERS_MAX} characters")
    if "\\" in text or any(character <= " " or character == "\x7f" for character in text):
        raise BadUrl("spaces, control characters and backslashes are not allowed in a URL")
    try:
        parts = urlsplit(text)
        port = parts.port
        hostname = parts.hostname
    except ValueError:
        raise BadUrl("not a valid URL") from None
    scheme = parts.scheme.lower()
    if scheme not in {"http", "https"}:
        raise BadUrl("not an http(s) URL")
    if "@" in parts.netloc:
        raise BadUrl("user name and password are not allowed in a URL")
    if not hostname:
        raise BadUrl("the URL names no host")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]{}|^`\"<>")
    return Url(
        scheme=scheme,
        host=_host(hostname),
        port=port if port is not None else (443 if scheme == "https" else 80),
        path=path,
        target=f"{path}?{query}" if query else path,
    )


def _host(hostname: str) -> str:
    if ":" in hostname:
        try:
            return str(ipaddress.IPv6Address(hostname)) if "%" not in hostname else _refuse_host()
        except ValueError:
            return _refuse_host()
    try:
        # Full-width digits and dots of other scripts become ASCII here, before anything is judged.
        host = hostname.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        return _refuse_host()
    if not host or len(host) > HOST_CHARACTERS_MAX or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        return _refuse_host()
    return host


def _refuse_host() -> str:
    raise BadUrl("not a valid host name")


def check_url_shape(
    url: str, sandbox: bool, *, field: str = "media[0].url", allowed_hosts: frozenset[str] = frozenset()
) -> Problem | None:
    """What is wrong with a media URL without asking the network, or None. Pure; made for insert time.

    Codes: media_url_invalid, media_url_not_https, media_url_forbidden. `allowed_hosts` are `host:port` pairs the operator
    trusts (the sandbox's own servers). Only http(s); Mux addresses of other shapes are for `mux.parse`.
    """
    try:
        parsed = parse_url(url)
    except BadUrl as reason:
        return Problem(ErrorCode.MEDIA_URL_INVALID, field, str(reason))
    found = shape_problem(parsed, sandbox=sandbox, allowed_hosts=allowed_hosts)
    return None if found is None else Problem(found[0], field, found[1])


def shape_problem(url: Url, *, sandbox: bool, allowed_hosts: frozenset[str]) -> tuple[ErrorCode, str] | None:
    """(code, reason) why this URL may not be asked, before any name is resolved; also applied to each redirect."""
    if url.scheme != "https" and not sandbox:
        return ErrorCode.MEDIA_URL_NOT_HTTPS, "media URLs must begin with https://"
    if is_allowed(url.host_port, allowed_hosts):
        return None
    if url.port != 443 and not sandbox:
        return ErrorCode.MEDIA_URL_FORBIDDEN, "only the standard https port is allowed"
    address = _literal(url.host)
    if address is not None:
        return None if is_public(address) else (ErrorCode.MEDIA_URL_FORBIDDEN, "the address is not a public one")
    labels = url.host.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        # 2130706433, 0x7f.1, 0177.0.0.1, 127.1: some resolvers read these as IPv4 addresses. Nobody needs them.
        return ErrorCode.MEDIA_URL_FORBIDDEN, "the host is a number, not a name"
    if len(labels) == 1 or any(url.host == each or url.host.endswith("." + each) for each in _INSIDE_SUFFIXES):
        return ErrorCode.MEDIA_URL_FORBIDDEN, "the host is a name inside a network"
    return None


def is_allowed(host_port: str, allowed_hosts: frozenset[str]) -> bool:
    """Whether the operator's settings name this `host:port`, or every port of the host (`127.0.0.1:*`, in the sandbox)."""
    return host_port in allowed_hosts or f"{host_port.rpartition(':')[0]}:*" in allowed_hosts


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether `address` is global unicast, looking through every form that embeds an IPv4 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not any(address in each for each in _REFUSED_V4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:  # what DNS64 answers for a public IPv4 host, in a network without IPv4
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return False
    return address.is_global and not any(address in each for each in _REFUSED_V6)


class SystemResolver:
    """getaddrinfo in threads of its own, so that a hanging name server cannot hold up disk writes. Bounded in time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVE_THREADS_MAX, thread_name_prefix="orbyt-dns")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Numeric addresses in the system's order of preference. Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_SECONDS_MAX):
            found = await loop.run_in_executor(self._threads, _getaddrinfo, host, port)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections only to addresses it has checked, and to nothing else.

    `allowed_hosts` are `host:port` pairs that need no public address: the operator's own settings (a Mux base URL) and, in
    the sandbox, this machine (`127.0.0.1:*`). Everything else inside a network stays refused there as well.
    """

    def __init__(
        self,
        resolve: Resolve,
        *,
        allowed_hosts: frozenset[str] = frozenset(),
        dialler: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._resolve = resolve
        self._allowed_hosts = allowed_hosts
        self._dialler = dialler or httpcore.AnyIOBackend()

    async def addresses(self, host: str, port: int) -> list[str]:
        """Resolve once and check all. Raises Failure(media_url_forbidden | media_source_unavailable)."""
        try:
            found = [host] if _literal(host) is not None else await self._resolve(host, port)
        except (OSError, TimeoutError, UnicodeError):
            raise Failure(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"the host name {host} could not be resolved") from None
        if not found or len(found) > ADDRESSES_CHECKED_MAX:
            raise Failure(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"the host name {host} has {len(found)} addresses")
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not is_allowed(name, self._allowed_hosts) and not all(_is_public_text(each) for each in found):
            raise Failure(ErrorCode.MEDIA_URL_FORBIDDEN, "the host resolves to an address that is not public")
        return found[:ADDRESSES_DIALLED_MAX]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Dial the checked addresses in turn; the time limit covers each one."""
        last: Exception = httpcore.ConnectError("no address")
        for address in await self.addresses(host, port):
            try:
                return await self._dialler.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                last = failure
        raise last

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("media never comes from a unix socket")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _is_public_text(text: str) -> bool:
    address = _literal(text)
    return address is not None and is_public(address)
