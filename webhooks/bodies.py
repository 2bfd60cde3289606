"""What a caller sends, up to a limit."""

from starlette.requests import Request


async def body_of(request: Request, most: int) -> bytes | None:
    """None where it is longer: what is too long is not read to its end."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > most:
        return None
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)
