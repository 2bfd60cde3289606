"""Under which id a call goes through the payload, its instructions and their events to the frames."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from domain import trace


async def traced(answer: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    """The caller's own id, or a new one; the answer tells it."""
    trace.correlation_id.set(trace.correlation_id_of(dict(request.scope["headers"])))
    response = await answer(request)
    response.headers["X-Correlation-Id"] = trace.correlation_id.get()
    return response
