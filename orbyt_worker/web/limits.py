"""How much a route takes, and from whom: body sizes, and a token bucket per client address and route. Pure; bounded memory.

The buckets are this process's own. They keep one address from wearing the worker out; they are no defence against many
addresses at once, which is the work of the proxy in front.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

# Addresses remembered, over all routes; the one unheard of for longest is forgotten first.
CLIENTS_MAX = 10_000
# Nobody is assigned a single IPv6 address: a whole /64 is one client.
IPV6_PREFIX_BITS = 64


@dataclass(frozen=True, slots=True)
class Limit:
    """What one route takes. `burst` requests at once, then `per_minute`; a body up to `body_bytes_max`."""

    per_minute: float
    burst: int
    body_bytes_max: int = 1024


# Many phones share one address of a mobile network, and each comes once per login.
_PEOPLE = Limit(per_minute=120, burst=60)
# Probes come every few seconds, from few addresses.
_PROBES = Limit(per_minute=600, burst=120)

LIMITS: dict[str, Limit] = {
    "/healthz": _PROBES,
    "/readyz": _PROBES,
    "/metrics": Limit(per_minute=120, burst=30),
    "/connect/callback": _PEOPLE,
    # A signed request is some 300 bytes.
    "/meta/deauthorize": Limit(per_minute=600, burst=200, body_bytes_max=8 * 1024),
    "/meta/data-deletion": Limit(per_minute=600, burst=200, body_bytes_max=8 * 1024),
    "/meta/data-deletion/{code}": Limit(per_minute=60, burst=20),
    # An asset with all its tracks, renditions and former attempts; Mux sends several for each video, from few addresses.
    "/mux/webhook": Limit(per_minute=3000, burst=600, body_bytes_max=256 * 1024),
}
# Everything that is not a route: somebody is looking for doors.
OTHER = "other"
OTHER_LIMIT = Limit(per_minute=60, burst=30)

_STATUS_PAGES = "/meta/data-deletion/"


def route_of(path: str) -> str:
    """The route a path belongs to, as it stands in LIMITS; `other` for what is none."""
    if path in LIMITS:
        return path
    if path.startswith(_STATUS_PAGES) and "/" not in path[len(_STATUS_PAGES) :] and len(path) > len(_STATUS_PAGES):
        return "/meta/data-deletion/{code}"
    return OTHER


def client_of(host: str | None) -> str:
    """Whom a bucket belongs to: an IPv4 address, or the network of an IPv6 address."""
    if host is None:
        return ""
    try:
        address = ip_address(host)
    except ValueError:
        return host[:64]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> (128 - IPV6_PREFIX_BITS) << (128 - IPV6_PREFIX_BITS))}/{IPV6_PREFIX_BITS}"


class Buckets:
    """Token buckets by (client, route)."""

    def __init__(self, monotonic: Callable[[], float], *, clients_max: int = CLIENTS_MAX) -> None:
        self._monotonic = monotonic
        self._clients_max = clients_max
        # Tokens left, and when that was.
        self._levels: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, client: str, route: str, limit: Limit) -> float:
        """0 if the request may pass, else the seconds until one may. A refused request costs nothing."""
        now = self._monotonic()
        per_second = limit.per_minute / 60
        level, at = self._levels.get((client, route), (float(limit.burst), now))
        level = min(float(limit.burst), level + max(now - at, 0.0) * per_second)
        wait_seconds = 0.0 if level >= 1 else (1 - level) / per_second
        self._levels[client, route] = (level if wait_seconds else level - 1, now)
        self._levels.move_to_end((client, route))
        while len(self._levels) > self._clients_max:
            self._levels.popitem(last=False)
        return wait_seconds
