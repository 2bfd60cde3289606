"""Partners that call our doors, in tests: a shop, a provider's connection to it, and the worker that carries out what it says."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from adapters.seals import AesSeals
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.identity import Seals
from domain.intake import EntityKind, Inbound
from domain.mappings import MapExternalId, map_external_id
from domain.proofs import Proof, Strategy, key_of, prove, shown
from domain.signatures import sign
from domain.sources import connect_source, kept_secret
from tests.world import Shop, shop
from webhooks.intake import Door
from webhooks.limits import KnownSources
from wiring import INBOUNDS
from workers.instructions import Instructions

SEALS = AesSeals([b"s" * 32])


@dataclass
class Partner:
    """One source of one shop, `store` being its own id of it, `text` its secret as people copy it."""

    engine: AsyncEngine
    shop: Shop
    source_id: UUID
    inbound: Inbound
    secret: bytes
    store: str
    door: Door
    client: httpx2.AsyncClient
    worker: Instructions
    text: str = field(default="", repr=False)
    own_proof: Proof | None = None
    sent: int = field(default=0)

    @property
    def proof(self) -> Proof:
        return self.own_proof or self.inbound.proof

    def path(self, rest: str) -> str:
        start = f"/v1/integrations/{self.inbound.family.value}/{self.inbound.provider}"
        if self.proof.strategy is Strategy.URL_TOKEN:
            return f"{start}/{self.text}/{rest}"
        return f"{start}/{rest}?source={self.source_id}"

    def signed(self, body: bytes, message_id: str | None = None, secret: bytes | None = None) -> dict[str, str]:
        self.sent += 1
        id = message_id or f"msg-{self.source_id.hex[-6:]}-{self.sent}"
        now = int(datetime.now(UTC).timestamp())
        return {"webhook-id": id, "webhook-timestamp": str(now), "webhook-signature": sign(secret or self.secret, id, now, body)}

    async def post(self, rest: str, body: Any, **headers: str) -> httpx2.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if "webhook-signature" not in headers:
            headers = {**self.proven(rest, raw), **headers}
        return await self.client.post(self.path(rest), content=raw, headers=headers)

    def proven(self, rest: str, raw: bytes, secret: str | None = None) -> dict[str, str]:
        """Whatever its proof is."""
        self.sent += 1
        id, url = f"msg-{self.source_id.hex[-6:]}-{self.sent}", self.door.url + self.path(rest)
        return prove(self.proof, secret or self.text, self.source_id, url, raw, datetime.now(UTC), id)

    async def tell(self, rest: str, body: Any, **headers: str) -> httpx2.Response:
        """Posted, and carried out."""
        answer = await self.post(rest, body, **headers)
        await self.worker.drain()
        return answer

    async def map(self, kind: EntityKind, external_id: str, id: UUID) -> None:
        async with unit_of_work(self.engine) as uow:
            await map_external_id(MapExternalId(self.source_id, kind, external_id, id), self.shop.owner, uow)

    # ------------------------------------------------------------ what came of it

    async def rows(self, statement: Any) -> Sequence[Any]:
        async with self.engine.connect() as connection:
            return (await connection.execute(statement)).all()

    async def payloads(self) -> list[str]:
        p = t.payload.c
        return [row.state.value for row in await self.rows(select(p.state).where(p.source_id == self.source_id).order_by(p.id))]

    async def instructions(self) -> list[tuple[str, str, str]]:
        i = t.instruction.c
        found = select(i.command, i.entity, i.state).where(i.source_id == self.source_id).order_by(i.id)
        return [(row.command, row.entity, row.state.value) for row in await self.rows(found)]

    async def failures(self, *kinds: str) -> list[Any]:
        f = t.failure.c
        found = select(t.failure).where(f.source_id == self.source_id).order_by(f.id)
        return [row for row in await self.rows(found) if not kinds or row.kind.value in kinds]

    async def level(self, sku: str) -> Any:
        """The stock level of the shop's listing of this SKU."""
        v, li = t.variant.c, t.listing.c
        (row,) = await self.rows(
            select(t.stock_level)
            .join(t.listing, li.id == t.stock_level.c.listing_id)
            .join(t.variant, v.id == li.variant_id)
            .where(v.sku == sku, li.store_id == self.shop.store_id)
        )
        return row

    async def listings(self) -> dict[str, Any]:
        """By SKU."""
        v, li = t.variant.c, t.listing.c
        found = select(v.sku, t.listing).join(t.variant, v.id == li.variant_id).where(li.store_id == self.shop.store_id)
        return {row.sku: row for row in await self.rows(found)}

    async def discrepancies(self) -> int:
        """Levels that are not the sum of their movements."""
        level, m = t.stock_level.c, t.stock_movement.c
        total = select(m.listing_id, func.sum(m.on_hand_delta).label("units")).group_by(m.listing_id).subquery()
        wrong = (
            select(level.listing_id)
            .join(total, total.c.listing_id == level.listing_id, isouter=True)
            .where(level.merchant_id == self.shop.merchant_id, level.on_hand != func.coalesce(total.c.units, 0))
        )
        return len(await self.rows(wrong))


def worker_of(engine: AsyncEngine, **given: Any) -> Instructions:
    return Instructions(lambda: unit_of_work(engine), Reads(engine), INBOUNDS, **given)


def client_of(door: Door, remote: str = "127.0.0.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(Starlette(routes=door.routes()), client=(remote, 1))
    return httpx2.AsyncClient(transport=transport, base_url="http://haat.test")


async def partner(
    engine: AsyncEngine,
    provider: str,
    store: str | None = "ST-1",
    of: Shop | None = None,
    seals: Seals = SEALS,
    client: httpx2.AsyncClient | None = None,
    proof: Proof | None = None,
    **shop_columns: Any,
) -> Partner:
    """Mapped to the shop's store by the id `store`, or to none. It calls a door of its own, or by `client` one with these seals."""
    inbound, mine = INBOUNDS[provider], of or await shop(engine, **shop_columns)
    holds = proof or inbound.proof
    text = shown(holds, secrets.token_bytes(32))
    async with unit_of_work(engine) as uow:
        new = kept_secret(holds, text, seals)
        source_id = await connect_source(mine.merchant_id, provider, inbound.family, new, mine.owner, uow, proof)
    door = Door(INBOUNDS, Reads(engine), lambda: unit_of_work(engine), seals, known=KnownSources(keep_s=0), url="http://haat.test")
    calling, secret = client or client_of(door), key_of(holds, text)
    made = Partner(
        engine, mine, source_id, inbound, secret, store or "", door, calling, worker_of(engine), text=text, own_proof=proof
    )
    if store is not None:
        await made.map(EntityKind.STORE, store, mine.store_id)
    return made


# ---------------------------------------------------------------- what they say


def menu(store: str, *items: dict[str, Any], active: str = "1", groups: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A whole PetPooja menu."""
    return {
        "success": "1",
        "restaurants": [{"restaurantid": "91012", "active": active, "details": {"menusharingcode": store}}],
        "parentcategories": [{"id": "9", "name": "Main", "rank": "1", "status": "1"}],
        "categories": [{"categoryid": "700", "active": "1", "parent_category_id": "9", "categoryname": "Pizza"}],
        "items": list(items),
        "addongroups": list(groups),
        "attributes": [{"attributeid": "1", "attribute": "veg", "active": "1"}],
        "http_code": 200,
    }


def dish(id: str, price: str = "100.00", **fields: Any) -> dict[str, Any]:
    return {
        "itemid": id,
        "itemname": f"Dish {id}",
        "item_categoryid": "700",
        "item_attributeid": "1",
        "price": price,
        "active": "1",
        "in_stock": "2",
        "variation": [],
        "addon": [],
        **fields,
    }


def size(id: str, name: str, price: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "variationid": "11", "name": name, "price": price, "active": "1", "addon": [], **fields}


def snapshot(store: str, *lines: tuple[str, int, int], at: datetime | None = None) -> dict[str, Any]:
    """SKU, available, version."""
    moment = (at or datetime.now(UTC)).isoformat()
    told = [{"sku": sku, "available": str(available), "version": version} for sku, available, version in lines]
    return {"type": "stock.snapshot", "timestamp": moment, "data": {"location": store, "lines": told}}


def event(kind: str, at: datetime | None = None, **data: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": (at or datetime.now(UTC)).isoformat(), "data": data}
