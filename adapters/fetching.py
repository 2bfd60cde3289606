"""What we ask of others' servers: of addresses that all the world may reach, over TLS, and never further than was asked.

A merchant tells us the address, so it may be anybody's, ours included. A name is resolved once; if any of its addresses is private,
none is asked; the connection goes to the very address that was looked at. Nothing is followed, nothing kept between requests.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

import httpx2

from domain.access import Ask, AskFailed, Reply
from domain.threads import Threads

TIMEOUT_S = 20.0
CONNECT_S = 5.0
MOST_BYTES = 10 * 1024 * 1024
HTTPS = 443
NAMES = 64  # looked up at once by each SafeFetch: more than any worker has turns, as one that hangs outlasts its turn
ONLY_HTTPS = "only https:// at its own port is asked"
# One answer for both: which names there are in a network of ours is nobody's business.
NOWHERE = "the base URL leads nowhere, or to an address that is not public"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# IPv6 that is another way to write an IPv4 address: who needs it can write that one.
_TRANSLATED = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::ffff:0:0/96", "::/96"))
)


def look_up(host: str, port: int) -> Sequence[str]:
    """Takes as long as the name servers of whoever has the name please."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))


class Names:
    """Looked up in threads of their own: the event loop's are few, and a lookup that hangs cannot be ended. A name that many ask
    for is looked up once for all of them, so one that nobody answers for has one thread, and is waited for by who asked for it.
    """

    def __init__(self) -> None:
        self._threads = Threads("names", NAMES)
        self._running: dict[tuple[str, int], asyncio.Task[Sequence[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        running = self._running.get((host, port))
        if running is None:
            running = asyncio.create_task(self._threads.run(partial(look_up, host, port)))
            self._running[host, port] = running
            running.add_done_callback(partial(self._over, (host, port)))
        return await asyncio.shield(running)

    def _over(self, name: tuple[str, int], running: asyncio.Task[Sequence[str]]) -> None:
        del self._running[name]
        if not running.cancelled():
            running.exception()  # whoever still waits is told


def is_public(text: str) -> bool:
    """Of an address as the resolver writes it. Private, link-local (metadata services), shared, multicast, reserved: no."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _TRANSLATED):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False  # fec0::/10: what sites had for themselves before fc00::/7
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class SafeFetch:
    """`loopback`: in development this machine may be asked, without TLS and at any port."""

    loopback: bool = False
    timeout_s: float = TIMEOUT_S
    most_bytes: int = MOST_BYTES
    resolve: Resolve = field(default_factory=Names)
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    async def fetch(self, base_url: str, ask: Ask) -> Reply:
        """Raises AskFailed."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._fetch(base_url, ask)
        except TimeoutError:
            raise AskFailed(f"no answer within {self.timeout_s:g} s") from None
        except httpx2.InvalidURL:  # of its own family: a character that cannot stand there, or too many
            raise AskFailed("the address is none", retry=False) from None
        except (httpx2.HTTPError, OSError, UnicodeError) as error:
            raise AskFailed(f"no answer: {type(error).__name__}") from error

    async def _fetch(self, base_url: str, ask: Ask) -> Reply:
        host, port, url, secure = await self._place(base_url, ask.path)
        asked_at = datetime.now(UTC)
        headers = {**ask.headers, "host": host if port in (HTTPS, 80) else f"{host}:{port}", "accept-encoding": "identity"}
        extensions = {"sni_hostname": host} if secure else {}
        # A client of its own: two names may be one address, and what one has set (a cookie) is not the other's.
        async with (
            httpx2.AsyncClient(
                verify=self.tls, trust_env=False, follow_redirects=False, timeout=httpx2.Timeout(self.timeout_s, connect=CONNECT_S)
            ) as client,
            client.stream(
                ask.method, url, params=dict(ask.query) or None, headers=headers, content=ask.body or None, extensions=extensions
            ) as answer,
        ):
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise AskFailed("it answers compressed, which was not asked for", retry=False)
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > self.most_bytes:
                    raise AskFailed(f"its answer is longer than {self.most_bytes} bytes", retry=False)
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, told, bytes(body), asked_at)

    async def _place(self, base_url: str, path: str) -> tuple[str, int, str, bool]:
        """Host, port, the URL with the address instead of the name, and whether it is TLS."""
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise AskFailed("the base URL is none", retry=False) from None
        host = parts.hostname or ""
        if not host or parts.username is not None or parts.password is not None or parts.scheme not in ("https", "http"):
            raise AskFailed("the base URL is none", retry=False)
        secure = parts.scheme == "https"
        port = port or (HTTPS if secure else 80)
        allowed = secure and port == HTTPS
        if not allowed and not self.loopback:
            raise AskFailed(ONLY_HTTPS, retry=False)
        try:
            addresses = await self.resolve(host, port)
        except OSError:
            addresses = ()
        local = self.loopback and bool(addresses) and all(map(is_loopback, addresses))
        if not local and not (addresses and all(map(is_public, addresses))):
            raise AskFailed(NOWHERE)  # and again later: the resolver may have been down
        if not local and not allowed:
            raise AskFailed(ONLY_HTTPS, retry=False)
        address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        return host, port, f"{parts.scheme}://{address}:{port}{parts.path.rstrip('/')}/{path.lstrip('/')}", secure
