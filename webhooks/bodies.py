"""What a caller sends, up to a limit."""

import asyncio

from starlette.requests import ClientDisconnect, Request

ARRIVES_WITHIN_S = 30


async def body_of(request: Request, most: int) -> bytes | None:
    """None where it is longer: what is too long is not read to its end.

    Raises ClientDisconnect, also where no more comes in time: who is silent for so long is as good as gone.
    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > most:
        return None
    parts, size = [], 0
    try:
        async with asyncio.timeout(ARRIVES_WITHIN_S):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    return None
                parts.append(part)
    except TimeoutError:
        raise ClientDisconnect from None
    return b"".join(parts)
