"""The ASGI app: routes and lifespan over what wiring.py made. Decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from domain.identity import Actor
from launch.ending import close
from launch.load import load
from resolvers.identity import authenticate
from resolvers.loaders import Loaders
from schema.api import schema
from schema.callers import Rules
from schema.http import HttpDoor
from schema.roots import Api
from settings import Env, Settings
from subscriptions.following import Following
from webhooks.images import ImageDoor
from webhooks.imports import Reports
from webhooks.intake import Door as IntakeDoor
from webhooks.payments import PaymentDoor
from webhooks.sandbox import SandboxPage
from wiring import ENDED_WITHIN_S, INBOUNDS, Wiring, wire, working

READY_WITHIN_S = 2
GRAPHQL = "/graphql"
INTAKE, WORK = "intake", "work"  # roles; without one a process serves everything


class App(Starlette):
    """Who asks for the API goes straight to its door: the way through the routes takes a tenth of what a kept answer may cost."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api: ASGIApp | None = self.state.api
        if api is not None and scope["type"] == "http" and scope["path"] == GRAPHQL:
            await api(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings, only: str | None = None, workers: Iterable[str] = ()) -> App:
    """`only` names the one role it serves. `workers` are loops that run inside: those of the role WORK, which answers for
    its health alone, and all of them where no Redis joins processes.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with wire(settings, workers) as wiring:
            app.state.wiring = wiring
            async with working(wiring, workers):
                if only == WORK:
                    yield
                    return
                app.router.routes.extend(partners(wiring))
                if only != INTAKE:
                    app.state.door = graphql_door(wiring)
                    app.state.api = inside(middleware, app.state.door)
                    app.router.routes.extend(graphql(wiring, app.state.door))
                await wiring.hub.start()
                try:
                    yield
                finally:
                    await close({"hub": wiring.hub.stop, "cache": wiring.cache.stop}, ENDED_WITHIN_S)

    middleware: list[Middleware] = []
    if settings.trusted_proxies:
        middleware.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)))
    if settings.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-Correlation-Id", "Traceparent"],
                expose_headers=["X-Correlation-Id", "Retry-After"],
                max_age=86_400,
            )
        )
    app = App(routes=health(), middleware=middleware, lifespan=lifespan)
    app.state.draining = False
    app.state.door = app.state.api = None
    return app


def inside(middleware: Sequence[Middleware], app: ASGIApp) -> ASGIApp:
    """The first is the outermost, as Starlette has them."""
    for wrap, args, kwargs in reversed(middleware):
        app = wrap(app, *args, **kwargs)
    return app


@dataclass(frozen=True)
class Leaving:
    """What is done between SIGTERM and the end: not ready, no new sockets, those that are open end one by one."""

    app: Starlette

    def going(self) -> None:
        self.app.state.draining = True

    async def drain(self, within_s: float) -> None:
        door: HttpDoor | None = self.app.state.door
        if door is not None:
            await door.listeners.drain(within_s)


def from_environment() -> Starlette:
    """For `uvicorn --factory app:from_environment`."""
    return create_app(load())


def partners(wiring: Wiring) -> Sequence[BaseRoute]:
    intake = IntakeDoor(
        INBOUNDS,
        wiring.intake_reads,
        wiring.intake_unit_of_work,
        wiring.ports.seals,
        wiring.arrivals.committed,
        figures=wiring.figures,
        url=wiring.ports.url,
        bodies=wiring.ports.bodies,
        reports=Reports(wiring.ports.bodies),
    )
    gateways = {wiring.sandbox.name: wiring.sandbox} if wiring.sandbox else {}
    routes = [*intake.routes(), *PaymentDoor(gateways, wiring.intake_unit_of_work).routes()]
    if wiring.sandbox:
        routes += SandboxPage(wiring.reads, wiring.sandbox, wiring.post).routes()
    return routes


def graphql_door(wiring: Wiring) -> HttpDoor:
    limits = wiring.settings.rate_limits

    def context(actor: Actor, remote: str) -> Api:
        reads = wiring.reads
        return Api(actor, reads, wiring.unit_of_work, Loaders(reads, actor), wiring.ports, remote, hub=Following(wiring.hub))

    rules = Rules(
        introspection=wiring.settings.env is not Env.PRODUCTION,
        deadline_s=wiring.settings.request_deadline_s,
        queries=wiring.settings.queries_at_once,
        allowed_origins=wiring.settings.allowed_origins,
        frame_bytes=wiring.settings.websocket_message_bytes,
        messages_per_s=20 if limits else None,
        sockets_per_user=5 if limits else None,
        sockets_per_address=50 if limits else None,
    )
    return HttpDoor(
        schema,
        context,
        lambda token: authenticate(wiring.ports, token),
        wiring.ports.sessions.ended,
        wiring.figures,
        rules,
        wiring.cache,
    )


def graphql(wiring: Wiring, door: HttpDoor) -> Sequence[BaseRoute]:
    async def jwks(request: Request) -> Response:
        return JSONResponse(wiring.ports.tokens.jwks(), headers={"cache-control": "public, max-age=300"})

    images = ImageDoor(wiring.reads, wiring.blobs).routes()
    # The first is for who writes a slash after it, too.
    return [Route(GRAPHQL, door), WebSocketRoute(GRAPHQL, door), Route("/.well-known/jwks.json", jwks), *images]


def health() -> list[BaseRoute]:
    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


async def livez(request: Request) -> Response:
    """Never asks anybody else: not ready is not dead."""
    return PlainTextResponse("ok")


async def readyz(request: Request) -> Response:
    wiring: Wiring = request.app.state.wiring
    if request.app.state.draining:
        return PlainTextResponse("draining", 503)
    asking = asyncio.create_task(wiring.ready())
    done, _ = await asyncio.wait([asking], timeout=READY_WITHIN_S)
    if not done:
        asking.add_done_callback(_heard)
        asking.cancel()  # and not waited for: a database that hangs would make us late
        return PlainTextResponse("not ready: TimeoutError", 503)
    error = asking.exception()
    if error is not None:  # whatever it is, we cannot serve
        return PlainTextResponse(f"not ready: {type(error).__name__}", 503)
    return PlainTextResponse("ok")


def _heard(asked: asyncio.Task[None]) -> None:
    """Nobody waits for it any more."""
    if not asked.cancelled():
        asked.exception()


async def metrics(request: Request) -> Response:
    wiring: Wiring = request.app.state.wiring
    return Response(await wiring.figures.text(), media_type=wiring.figures.content_type)
