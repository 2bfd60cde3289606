"""What becomes of a cart, and what is on its way from a store, over real sockets of two servers."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.exceptions import ConnectionClosed

from db.unit_of_work import unit_of_work
from domain.identity import CLOCK, ban_user
from tests.live.town import Client, Town, town
from tests.trips import code_of, on_duty, support, trips
from tests.world import account, listings, shop

CART = """subscription($after: String) { cartChanges(after: $after) { cursor reset
  changes { lineId line { quantity total { amount } } filledPrice { amount } price { amount } stock { available } problems } } }"""
BOARD = """subscription($id: ID!, $after: String) { deliveryBoard(storeId: $id, after: $after) { cursor reset
  changes { status version delivery { id riderName order { number } } }
  positions { deliveryId position { point { lat } } etaAt } } }"""
LINES = "mutation($lines: [CartLineInput!]!) { updateCartLines(lines: $lines) { lines { id listing { id } } } }"
PRICE = 'mutation($id: ID!) { setPrice(listingId: $id, price: "60.00") { id } }'
PAUSE = "mutation($id: ID!) { setStoreStatus(storeId: $id, status: PAUSED) { id } }"
ASSIGN = """mutation($id: ID!, $rider: ID!) { assignRider(deliveryId: $id, riderId: $rider) {
  ... on Delivery { status } ... on Refusal { message } } }"""
STEP = "{ ... on Delivery { status } ... on Refusal { code message } }"
REPORT = "mutation($p: [PositionInput!]!) { reportPositions(positions: $p) { accepted } }"
WITHIN_S = 20


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: Any) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("cart")) / "log"
    async with town(database_url, redis_url, engine, log, servers=2) as running:
        yield running


async def wanted(frames: AsyncIterator[Any], is_it: Callable[[Any], Any]) -> Any:
    async with asyncio.timeout(WITHIN_S):
        async for frame in frames:
            if is_it(frame):
                return frame
    raise AssertionError("the feed has ended")


def change(frame: Any) -> dict[str, Any]:
    [told] = frame["changes"]
    return told


async def test_a_cart_is_told_of_on_another_server_until_its_customer_is_banned(running: Town, engine: AsyncEngine):
    stall = await shop(engine)
    tea, rice = [str(id) for id in await listings(engine, stall, [5, 5])]
    buyer = await account(engine)
    phone, laptop, seller = await running.api(buyer), await running.api(buyer, "server2"), await running.api(stall.owner)
    await phone.ask(LINES, lines=[{"listingId": tea, "quantity": 2}])
    async with laptop.feed(CART) as frames:
        first = await anext(frames)
        assert (first["reset"], change(first)["filledPrice"], change(first)["problems"]) == (True, {"amount": "50.00"}, [])
        await seller.ask(PRICE, id=tea)
        told = change(await wanted(frames, lambda frame: frame["changes"]))
        assert (told["filledPrice"]["amount"], told["price"]["amount"], told["line"]["total"]["amount"]) == (
            "50.00",
            "60.00",
            "120.00",
        )
        lines = (await phone.ask(LINES, lines=[{"listingId": rice, "quantity": 1}]))["updateCartLines"]["lines"]
        added = next(line["id"] for line in lines if line["listing"]["id"] == rice)
        assert change(await wanted(frames, lambda frame: frame["changes"]))["lineId"] == added
        await phone.ask(LINES, lines=[{"id": added, "listingId": rice, "quantity": 0}])
        gone = change(await wanted(frames, lambda frame: frame["changes"]))
        assert (gone["lineId"], gone["line"], gone["price"]) == (added, None, None)
        await seller.ask(PAUSE, id=str(stall.store_id))
        last = await wanted(frames, lambda frame: frame["changes"])
        assert change(last)["problems"] == ["STORE_CLOSED"]
    await phone.ask(LINES, lines=[{"listingId": rice, "quantity": 1}])
    async with phone.feed(CART, after=last["cursor"]) as frames:  # goes on at the other server
        missed = await anext(frames)
        assert (missed["reset"], change(missed)["line"]["quantity"]) == (False, 1)
        async with unit_of_work(engine) as uow:
            await ban_user(buyer.id, "tests our patience", CLOCK, uow)
        began = time.monotonic()
        with suppress(ConnectionClosed):  # its whole socket, or the feed alone: whichever is looked at first
            async with asyncio.timeout(WITHIN_S):
                assert [frame async for frame in frames] == []
        assert time.monotonic() - began < 5  # 2 s, and what a busy machine adds


async def ride(courier: Client, lat: float) -> None:
    """Until cancelled: north, a step a second."""
    for seq in itertools.count(1):
        here = {
            "deviceId": "d",
            "seq": seq,
            "point": {"lat": lat + seq / 10_000, "lng": 77.5947},
            "at": datetime.now(UTC).isoformat(),
        }
        await courier.ask(REPORT, p=[here])
        await asyncio.sleep(1.1)


async def test_a_board_shows_all_that_is_on_its_way_and_nobody_after_it(running: Town, engine: AsyncEngine):
    stall = await shop(engine)
    one, other = [(await trips(engine, [stall]))[0] for _ in range(2)]
    elsewhere = (await trips(engine, [await shop(engine)]))[0]
    ravi, joy = await on_duty(engine, "Ravi"), await on_duty(engine, "Joy")
    desk, first, second = [await running.api(who) for who in (await support(engine), ravi, joy)]
    seller = await running.api(stall.owner, "server2")
    async with seller.feed(BOARD, id=str(stall.store_id)) as frames:
        begun = await anext(frames)
        assert begun["reset"]
        assert {told["delivery"]["id"] for told in begun["changes"]} == {str(one.delivery_id), str(other.delivery_id)}
        for made, rider in ((one, ravi), (other, joy), (elsewhere, ravi)):
            await desk.ask(ASSIGN, id=str(made.delivery_id), rider=str(rider.id))
        riding = [asyncio.create_task(ride(first, 12.9)), asyncio.create_task(ride(second, 13.0))]
        try:
            seen: dict[str, set[float]] = {}

            def both(frame: Any) -> bool:
                for place in frame["positions"]:
                    seen.setdefault(place["deliveryId"], set()).add(place["position"]["point"]["lat"])
                return all(len(seen.get(str(made.delivery_id), ())) >= 2 for made in (one, other))

            await wanted(frames, both)
            assert set(seen) == {str(one.delivery_id), str(other.delivery_id)}
            deliver = f"mutation($id: ID!, $code: String) {{ deliver(deliveryId: $id, handoverCode: $code) {STEP} }}"
            await first.ask(f"mutation($id: ID!) {{ pickUp(deliveryId: $id) {STEP} }}", id=str(one.delivery_id))
            await first.ask(deliver, id=str(one.delivery_id), code=await code_of(engine, one.order_id))
            await wanted(frames, lambda frame: any(told["status"] == "DELIVERED" for told in frame["changes"]))
            seen.clear()
            await wanted(frames, lambda frame: both(frame) or len(seen.get(str(other.delivery_id), ())) >= 3)
            assert set(seen) == {str(other.delivery_id)}  # though Ravi rides on, for another store
        finally:
            for task in riding:
                task.cancel()
            ended = await asyncio.gather(*riding, return_exceptions=True)
        assert [error for error in ended if not isinstance(error, asyncio.CancelledError)] == []
