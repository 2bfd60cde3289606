import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from launch.load import load
from settings import Settings
from wiring import Wiring, wire, working

READY_WITHIN_S = 2


def create_app(settings: Settings, only: str | None = None, workers: Iterable[str] = ()) -> Starlette:
    """`only` names the one role it serves; `workers` are loops that run inside, where no Redis joins processes."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with wire(settings) as wiring, working(wiring, workers):
            app.state.wiring = wiring
            yield

    middleware = []
    if settings.trusted_proxies:
        middleware.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)))
    routes = [Route("/livez", livez), Route("/readyz", readyz)]
    app = Starlette(routes=routes, middleware=middleware, lifespan=lifespan)
    app.state.draining = False
    return app


def from_environment() -> Starlette:
    """For `uvicorn --factory app:from_environment`."""
    return create_app(load())


async def livez(request: Request) -> PlainTextResponse:
    """Never asks anybody else: not ready is not dead."""
    return PlainTextResponse("ok")


async def readyz(request: Request) -> PlainTextResponse:
    wiring: Wiring = request.app.state.wiring
    if request.app.state.draining:
        return PlainTextResponse("draining", 503)
    try:
        await asyncio.wait_for(wiring.ready(), READY_WITHIN_S)
    except Exception as error:  # whatever it is, we cannot serve
        return PlainTextResponse(f"not ready: {type(error).__name__}", 503)
    return PlainTextResponse("ok")
