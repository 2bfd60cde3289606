"""The raw lines: what the same work takes with nothing of ours around it, on the same server's settings.

`python -m bench.bare` with HAAT_PORT and HAAT_DATABASE_URL.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from launch.load import load
from launch.ports import listen
from launch.server import configure

PAGE = """
SELECT l.id, v.name AS variant_name, v.sku, l.price_minor, l.mrp_minor, p.id AS product_id, p.name, p.brand, p.images,
  greatest(0, s.on_hand - s.held - s.allocated - s.buffer) AS available, s.version
FROM listing l JOIN variant v ON v.id = l.variant_id JOIN product p ON p.id = l.product_id JOIN stock_level s ON s.listing_id = l.id
WHERE l.store_id = $1 AND l.active AND l.price_minor <= $2 ORDER BY l.name, l.id LIMIT 21"""
SIBLINGS = """
SELECT o.id, l.id AS sibling_id, v.name AS variant_name, l.price_minor,
  greatest(0, s.on_hand - s.held - s.allocated - s.buffer) AS available
FROM listing o JOIN listing l ON l.store_id = o.store_id AND l.product_id = o.product_id AND l.id <> o.id
JOIN variant v ON v.id = l.variant_id JOIN stock_level s ON s.listing_id = l.id
WHERE o.id = ANY($1::uuid[]) AND l.active ORDER BY v.rank"""
INSERT = "INSERT INTO bench_raw (id, headers, body, sha256) VALUES ($1, $2::jsonb, $3, $4)"
TABLE = """CREATE TABLE IF NOT EXISTS bench_raw (id uuid PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  headers jsonb NOT NULL, body bytea NOT NULL, sha256 bytea NOT NULL)"""


def bare(database_url: str, pool_size: int) -> Starlette:
    sockets: set[WebSocket] = set()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        url = database_url.replace("postgresql+asyncpg", "postgresql")
        async with asyncpg.create_pool(url, min_size=pool_size, max_size=pool_size) as pool:
            await pool.execute(TABLE)
            app.state.pool = pool
            yield

    async def ok(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def page(request: Request) -> Response:
        """Two queries, and JSON of the same members as the API's answer."""
        asked = msgspec.json.decode(await request.body())
        pool: asyncpg.Pool = request.app.state.pool
        rows = await pool.fetch(PAGE, UUID(asked["store"]), asked["most"])
        more = await pool.fetch(SIBLINGS, [row["id"] for row in rows[:20]])
        siblings: dict[UUID, list[object]] = {}
        for row in more:
            siblings.setdefault(row["id"], []).append(
                {
                    "id": row["sibling_id"],
                    "variantName": row["variant_name"],
                    "price": {"amount": _amount(row["price_minor"])},
                    "stock": {"state": _state(row["available"]), "available": row["available"]},
                }
            )
        nodes = [
            {
                "id": row["id"],
                "variantName": row["variant_name"],
                "sku": row["sku"],
                "price": {"amount": _amount(row["price_minor"])},
                "mrp": {"amount": _amount(row["mrp_minor"])},
                "product": {"id": row["product_id"], "name": row["name"], "brand": row["brand"], "images": row["images"]},
                "stock": {"state": _state(row["available"]), "available": row["available"], "version": row["version"]},
                "siblings": siblings.get(row["id"], []),
            }
            for row in rows[:20]
        ]
        return Response(
            msgspec.json.encode({"nodes": nodes, "hasNextPage": len(rows) > 20}), headers={"content-type": "application/json"}
        )

    async def insert(request: Request) -> Response:
        body = await request.body()
        headers = msgspec.json.encode(dict(request.headers)).decode()
        await request.app.state.pool.execute(INSERT, uuid4(), headers, body, hashlib.sha256(body).digest())
        return PlainTextResponse("ok")

    async def join(websocket: WebSocket) -> None:
        await websocket.accept()
        sockets.add(websocket)
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            sockets.discard(websocket)

    async def tell(request: Request) -> Response:
        """Sends the body to every socket."""
        text = (await request.body()).decode()
        for socket in sockets:
            await socket.send_text(text)
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/readyz", ok),
            Route("/page", page, methods=["POST"]),
            Route("/insert", insert, methods=["POST"]),
            Route("/tell", tell, methods=["POST"]),
            WebSocketRoute("/join", join),
        ],
        lifespan=lifespan,
    )


def _amount(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


def _state(available: int) -> str:
    return "OUT_OF_STOCK" if available == 0 else "LOW" if available <= 5 else "IN_STOCK"


def main() -> None:
    settings = load()
    assert settings.database_url is not None
    app = bare(settings.database_url.get_secret_value(), settings.pool_size + settings.pool_overflow)
    config = configure(app, settings)
    config.http, config.ws = "httptools", "websockets-sansio"  # uvicorn's own
    uvicorn.Server(config).run(sockets=[listen(settings.host, settings.port, tries=1).socket])


if __name__ == "__main__":
    main()
