"""How often somebody may ask."""

import ipaddress
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from domain.refusals import RateLimited, Refused


class Limits(Protocol):
    """Budgets by name: what each allows is the adapter's table. A name it does not know is a bug."""

    async def hit(self, name: str, key: str, cost: int = 1) -> datetime | None:
        """Takes `cost` of the key's budget; when it does not have as much, takes nothing and says when to try again."""

    async def clear(self, name: str, key: str) -> None:
        """Gives the key its whole budget back."""


async def check_limit(limits: Limits, name: str, key: str, cost: int = 1) -> None:
    """Refuses RateLimited."""
    retry_at = await limits.hit(name, key, cost)
    if retry_at is not None:
        raise Refused(RateLimited("too often: try again later", retry_at))


@lru_cache(10_000)
def network_of(address: str) -> str:
    """Whom an address stands for: a whole /64 of IPv6 is one customer's to choose from."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a test's client, or a socket without an address: all of them share one budget
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
