"""One real order the whole way through the public doors."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.seals import AesSeals
from domain.identity import ActorKind
from tests.live.town import SEALING, Client, Town, town
from tests.partners import partner
from tests.world import account, listings, shop

DEADLINE_S = 20
ADDRESS = {"line1": "12 Lake Road", "city": "Bengaluru", "postalCode": "560001", "point": {"lat": 12.972, "lng": 77.595}}
QUOTE = """mutation($address: AddressInput) { quoteCart(address: $address) { __typename
  ... on Quote { id total { amount } expiresAt } ... on Refusal { code message } } }"""
PLACE = """mutation($quote: ID!, $method: PaymentMethod!, $key: String!) {
  placeOrder(quoteId: $quote, method: $method, idempotencyKey: $key) { __typename ... on Refusal { code message }
    ... on Purchase { id number total { amount } payment { status clientSecret } orders { id status handoverCode } } } }"""
MOVED = "{ __typename ... on Order { id status version } ... on Refusal { code message } }"
STEPS = "subscription($id: ID!) { order(id: $id) { reset changes { status version order { status delivery { status } } } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    async with town(database_url, redis_url, engine, Path(tmp_path_factory.mktemp("town")) / "log") as running:
        yield running


async def until(frames, wanted) -> list[dict]:
    """All frames up to the one that is wanted."""
    seen = []
    async with asyncio.timeout(DEADLINE_S):
        async for frame in frames:
            seen.append(frame)
            if wanted(frame):
                return seen
    raise AssertionError(seen)


async def ride(courier: Client, report: str, from_seq: int) -> None:
    """As a phone does: at the pace the server asks for, at most once a second is shown."""
    for seq in itertools.count(from_seq):
        point = {"lat": 12.9717 + seq / 10_000, "lng": 77.5947}
        here = {"deviceId": "d", "seq": seq, "point": point, "at": datetime.now(UTC).isoformat()}
        ack = (await courier.ask(report, p=[here]))["reportPositions"]
        await asyncio.sleep(min(1, ack["nextInSeconds"]))


async def test_from_the_till_to_the_door(running: Town, engine: AsyncEngine):
    store = await shop(engine, delivery_minor=2500)
    tea, rice = await listings(engine, store, [5, 5])
    customer = await account(engine)
    rider = await account(engine, ActorKind.RIDER, name="Imran")
    buyer, seller, courier = await running.api(customer), await running.api(store.owner), await running.api(rider)

    found = await (await running.api()).ask(
        "query($near: PointInput!) { stores(near: $near, open: true) { nodes { id name distanceMetres(from: $near) } } }",
        near=ADDRESS["point"],
    )
    assert str(store.store_id) in [one["id"] for one in found["stores"]["nodes"]]
    page = await buyer.ask(
        """query($id: ID!) { store(id: $id) { listings(first: 10) { totalCount
          nodes { id price { amount } stock { state available } } } } }""",
        id=str(store.store_id),
    )
    assert page["store"]["listings"]["totalCount"] == 2
    await buyer.ask(
        "mutation($lines: [CartLineInput!]!) { updateCartLines(lines: $lines) { subtotal { amount } } }",
        lines=[{"listingId": str(tea), "quantity": 2}, {"listingId": str(rice), "quantity": 1}],
    )
    quote = (await buyer.ask(QUOTE, address=ADDRESS))["quoteCart"]
    assert (quote["__typename"], quote["total"]["amount"]) == ("Quote", "175.00"), quote

    async with seller.feed(
        "subscription($id: ID!) { storeOrders(storeId: $id) { reset changes { status order { id number customerName } } } }",
        id=str(store.store_id),
    ) as board:
        first = await anext(board)
        assert (first["reset"], first["changes"]) == (True, [])
        purchase = (await buyer.ask(PLACE, quote=quote["id"], method="CASH_ON_DELIVERY", key="k1"))["placeOrder"]
        assert purchase["__typename"] == "Purchase", purchase
        assert purchase["payment"] == {"status": "CASH_DUE", "clientSecret": None}
        [order] = purchase["orders"]
        arrived = (await until(board, lambda frame: frame["changes"]))[-1]["changes"][0]
        assert (arrived["status"], arrived["order"]["id"], arrived["order"]["customerName"]) == ("PLACED", order["id"], "Riya")

    point = {"lat": 12.9717, "lng": 77.5947}
    await courier.ask("mutation { setDuty(onDuty: true) { onDuty } }")
    report = "mutation($p: [PositionInput!]!) { reportPositions(positions: $p) { accepted nextInSeconds } }"
    here = {"deviceId": "d", "seq": 1, "point": point, "at": datetime.now(UTC).isoformat()}
    assert (await courier.ask(report, p=[here]))["reportPositions"]["accepted"] == 1

    async with (
        buyer.feed(STEPS, id=order["id"]) as steps,
        courier.feed(
            "subscription { riderOffers { reset offers { id status pay { amount } deliveries { id order { id } } } } }"
        ) as offers,
    ):
        assert (await anext(steps))["changes"][0]["status"] == "PLACED"
        assert (await anext(offers))["reset"]
        accept = f"mutation($id: ID!) {{ acceptOrder(orderId: $id, prepMinutes: 5) {MOVED} }}"
        assert (await seller.ask(accept, id=order["id"]))["acceptOrder"]["status"] == "ACCEPTED"
        offer = (await until(offers, lambda frame: frame["offers"]))[-1]["offers"][0]
        assert (offer["status"], offer["deliveries"][0]["order"]) == ("OPEN", None)
        trip = offer["deliveries"][0]["id"]
        taken = await courier.ask(
            "mutation($id: ID!) { acceptOffer(offerId: $id) { __typename ... on Offer { status } } }", id=offer["id"]
        )
        assert taken["acceptOffer"] == {"__typename": "Offer", "status": "ACCEPTED"}
        ready = f"mutation($id: ID!) {{ markOrderReady(orderId: $id) {MOVED} }}"
        assert (await seller.ask(ready, id=order["id"]))["markOrderReady"]["status"] == "READY"
        moved = "{ __typename ... on Delivery { status } ... on Refusal { code message } ... on WrongCode { triesLeft } }"
        plain = moved.replace(" ... on WrongCode { triesLeft }", "")
        assert (await courier.ask(f"mutation($id: ID!) {{ pickUp(deliveryId: $id) {plain} }}", id=trip))["pickUp"][
            "status"
        ] == "PICKED_UP"

        async with buyer.feed(
            "subscription($id: ID!) { riderPosition(orderId: $id) { reset position { point { lat } } } }", id=order["id"]
        ) as positions:
            await anext(positions)
            riding = asyncio.create_task(ride(courier, report, from_seq=2))
            moving = await until(positions, lambda frame: frame["position"] and frame["position"]["point"]["lat"] > 12.9718)
            riding.cancel()
            assert moving

        deliver = f"mutation($id: ID!, $code: String) {{ deliver(deliveryId: $id, handoverCode: $code) {moved} }}"
        wrong = "0000" if order["handoverCode"] != "0000" else "1111"
        assert (await courier.ask(deliver, id=trip, code=wrong))["deliver"]["triesLeft"] == 4
        assert (await courier.ask(deliver, id=trip, code=order["handoverCode"]))["deliver"]["status"] == "DELIVERED"
        seen = await until(steps, lambda frame: any(change["status"] == "DELIVERED" for change in frame["changes"]))
        statuses = [change["status"] for frame in seen for change in frame["changes"]]
        assert list(dict.fromkeys(statuses)) == ["ACCEPTED", "READY", "PICKED_UP", "DELIVERED"]

    read = await buyer.ask(
        "query($id: ID!) { order(id: $id) { status history { seq status by } purchase { payment { status } } } }", id=order["id"]
    )
    assert read["order"]["purchase"]["payment"]["status"] == "CASH_COLLECTED"
    assert [event["seq"] for event in read["order"]["history"]] == [1, 2, 3, 4, 5]
    left = await buyer.ask("query($id: ID!) { listing(id: $id) { stock { available } } }", id=str(tea))
    assert left["listing"]["stock"]["available"] == 3


TOLD = """query($id: ID!) { order(id: $id) { number status history { status by note }
  purchase { payment { status refunded { amount } } } } }"""


async def test_a_till_tells_what_becomes_of_an_order_and_its_customer_watches(running: Town, engine: AsyncEngine):
    till = await partner(engine, "petpooja", "k7x2m9qa", seals=AesSeals([SEALING]), self_delivery=True)
    [tea] = await listings(engine, till.shop, [10])
    buyer = await running.api(await account(engine))
    door = running.url() + till.path("webhooks/order-status")

    async def order(method: str) -> dict:
        lines = [{"listingId": str(tea), "quantity": 2}]
        await buyer.ask("mutation($l: [CartLineInput!]!) { updateCartLines(lines: $l) { id } }", l=lines)
        quote = (await buyer.ask(QUOTE, address=ADDRESS))["quoteCart"]
        purchase = (await buyer.ask(PLACE, quote=quote["id"], method=method, key=quote["id"]))["placeOrder"]
        [placed] = purchase["orders"]
        return {**placed, "secret": purchase["payment"]["clientSecret"]}

    async def say(number: str, status: str, **more: str) -> None:
        told = {"restID": "k7x2m9qa", "orderID": number, "status": status, "minimum_prep_time": 20, **more}
        answer = await buyer.http.post(door, json=told)
        kept = {"http_code": "200", "status": "success", "message": "Order status updated"}
        assert (answer.status_code, answer.json()) == (200, kept)

    left = "query($id: ID!) { listing(id: $id) { stock { available } } }"
    brought = await order("CASH_ON_DELIVERY")
    number = (await buyer.ask(TOLD, id=brought["id"]))["order"]["number"]
    async with buyer.feed(STEPS, id=brought["id"]) as steps:
        assert (await anext(steps))["changes"][0]["status"] == "PLACED"
        for status, became in (("1", "ACCEPTED"), ("5", "READY"), ("4", "PICKED_UP"), ("10", "DELIVERED")):
            await say(number, status, rider_name="Imran", rider_phone_number="9800000077")
            seen = await until(steps, lambda frame: frame["changes"])
            assert [change["status"] for change in seen[-1]["changes"]][-1] == became
    read = (await buyer.ask(TOLD, id=brought["id"]))["order"]
    assert [(step["status"], step["by"]) for step in read["history"]][1:] == [
        (status, "SOURCE") for status in ("ACCEPTED", "READY", "PICKED_UP", "DELIVERED")
    ]
    assert read["history"][3]["note"] == "with Imran, 9800000077"
    assert read["purchase"]["payment"]["status"] == "CASH_COLLECTED"
    assert (await buyer.ask(left, id=str(tea)))["listing"]["stock"]["available"] == 8

    paid = await order("CARD")
    approved = await buyer.http.post(f"{running.url()}/v1/payments/sandbox/pay/{paid['secret']}/approve")
    assert approved.status_code == 200, approved.text
    number = (await buyer.ask(TOLD, id=paid["id"]))["order"]["number"]
    async with buyer.feed(STEPS, id=paid["id"]) as steps:
        await anext(steps)
        await say(number, "1")
        await until(steps, lambda frame: any(change["status"] == "ACCEPTED" for change in frame["changes"]))
        assert (await buyer.ask(left, id=str(tea)))["listing"]["stock"]["available"] == 6
        await say(number, "-1", cancel_reason="Paneer finished")
        await until(steps, lambda frame: any(change["status"] == "CANCELLED" for change in frame["changes"]))
    read = (await buyer.ask(TOLD, id=paid["id"]))["order"]
    assert read["history"][-1] == {"status": "CANCELLED", "by": "SOURCE", "note": "Paneer finished"}
    assert read["purchase"]["payment"] == {"status": "REFUNDED", "refunded": {"amount": "100.00"}}
    assert (await buyer.ask(left, id=str(tea)))["listing"]["stock"]["available"] == 8


async def test_a_card_is_paid_on_the_sandboxs_page_and_placed_by_its_webhook(running: Town, engine: AsyncEngine):
    store = await shop(engine)
    [tea] = await listings(engine, store, [5])
    buyer = await running.api(await account(engine))
    await buyer.ask(
        "mutation($l: [CartLineInput!]!) { updateCartLines(lines: $l) { id } }", l=[{"listingId": str(tea), "quantity": 1}]
    )
    quote = (await buyer.ask(QUOTE, address=ADDRESS))["quoteCart"]
    purchase = (await buyer.ask(PLACE, quote=quote["id"], method="CARD", key="k1"))["placeOrder"]
    assert purchase["orders"][0]["status"] == "PAYMENT_PENDING"
    page = f"{running.url()}/v1/payments/sandbox/pay/{purchase['payment']['clientSecret']}"
    shown = await buyer.http.get(page)
    assert shown.status_code == 200
    assert "50.00 INR" in shown.text
    paid = await buyer.http.post(f"{page}/approve")
    assert paid.status_code == 200, paid.text
    read = await buyer.ask(
        "query($id: ID!) { order(id: $id) { status purchase { payment { status } } } }", id=purchase["orders"][0]["id"]
    )
    assert read["order"] == {"status": "PLACED", "purchase": {"payment": {"status": "CAPTURED"}}}
    forged = await buyer.http.post(f"{running.url()}/v1/payments/sandbox/webhooks", content=b"{}")
    assert forged.status_code == 401
