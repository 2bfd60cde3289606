"""What a caller sends, up to a limit."""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

ARRIVES_WITHIN_S = 30


async def body_of(request: Request, most: int) -> bytes | None:
    """None where it is longer: what is too long is not read to its end. Raises as `beginning_of` does."""
    told = size_of(request)
    if told is not None and told > most:
        return None
    body, more = await beginning_of(request, most)
    return None if more else body


def size_of(request: Request) -> int | None:
    """As it is told beforehand, if it is."""
    if "transfer-encoding" not in request.headers and "content-length" not in request.headers:
        return 0
    told = request.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() else None


async def beginning_of(request: Request, most: int, take: Callable[[int], None] = lambda size: None) -> tuple[bytes, bool]:
    """So many bytes of it at most, and whether there are more. `take` is told of each piece as it comes; what it raises ends it.

    Raises ClientDisconnect, also where no more comes in time: who is silent for so long is as good as gone.
    """
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(ARRIVES_WITHIN_S):
            async for part in request.stream():
                size += len(part)
                parts.append(part if size <= most else part[: most - size])
                take(len(parts[-1]))
                if size > most:
                    break
    except TimeoutError:
        raise ClientDisconnect from None
    return b"".join(parts), size > most
