"""What riders, customers and stores are told of deliveries, through the API."""

import re
from datetime import timedelta

import pytest
import strawberry
from sqlalchemy import event, func, select

from adapters.bus import open_bus
from adapters.positions import MemoryPositions
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import fulfilment
from domain.identity import ANYBODY
from domain.orders import ReasonCode
from domain.positions import coarse
from resolvers.loaders import Loaders
from schema import orders, riders
from schema.build import build
from schema.roots import Api
from subscriptions.following import Following
from subscriptions.hub import Hub
from tests.callers import ports
from tests.trips import another, assigned, code_of, offered, on_duty, picked_up, support, trip
from tests.world import HOME, account, shop


@strawberry.type
class Query(riders.Query, orders.Query): ...


@strawberry.type
class Mutation(riders.Mutation): ...


schema = build(Query, Mutation)

DELIVERY = """id status version store { id } dropArea { lat lng } order { id address { line1 } customerName }
    cashDue { amount currency } riderName riderPhone etaAt position { point { lat lng } headingDegrees at }"""
RIDER = f"""{{ rider {{ id onDuty viewer {{ name }}
    offers {{ id status pay {{ amount currency }} distanceMetres expiresAt deliveries {{ {DELIVERY} }} }}
    deliveries {{ nodes {{ {DELIVERY} }} pageInfo {{ hasNextPage }} }} }} }}"""
ORDER = f"query($id: ID!) {{ order(id: $id) {{ id status delivery {{ {DELIVERY} }} }} }}"
ANSWER = f"__typename ... on Delivery {{ {DELIVERY} }} ... on Refusal {{ code message }}"
WRONG = "... on WrongDeliveryState { status }"
ACCEPT = f"""mutation($id: ID!) {{ acceptOffer(offerId: $id) {{ __typename
    ... on Offer {{ id status deliveries {{ {DELIVERY} }} }}
    ... on Refusal {{ code message }} ... on OfferGone {{ status }} }} }}"""
DECLINE = "mutation($id: ID!, $reason: ReasonCode!) { declineOffer(offerId: $id, reason: $reason) }"
DELIVER = f"""mutation($id: ID!, $code: String) {{ deliver(deliveryId: $id, handoverCode: $code)
    {{ {ANSWER} {WRONG} ... on WrongCode {{ triesLeft }} }} }}"""
DROP = f"mutation($id: ID!) {{ dropDelivery(deliveryId: $id, reason: VEHICLE) {{ {ANSWER} {WRONG} }} }}"
FAIL = f'mutation($id: ID!) {{ failDelivery(deliveryId: $id, reason: CUSTOMER_ABSENT, note: "rang") {{ {ANSWER} {WRONG} }} }}'
DUTY = "mutation($on: Boolean!) { setDuty(onDuty: $on) { id onDuty } }"
REPORT = "mutation($positions: [PositionInput!]!) { reportPositions(positions: $positions) { accepted nextInSeconds } }"


def step(name):
    return f"mutation($id: ID!) {{ {name}(deliveryId: $id) {{ {ANSWER} {WRONG} }} }}"


class Calls:
    def __init__(self, engine, bus):
        self.engine = engine
        self.reads = Reads(engine)
        self.ports = ports(self.reads, bus=bus, positions=MemoryPositions())
        self.hub = Hub(bus, self.reads)  # not started: no feed is followed here

    async def ask(self, actor, document, **variables):
        """Data and errors, as they are."""
        context = Api(
            actor, self.reads, lambda: unit_of_work(self.engine), Loaders(self.reads), self.ports, "", hub=Following(self.hub)
        )
        return await schema.execute(document, variables, context_value=context)

    async def say(self, actor, document, **variables):
        """The one field's answer."""
        said = await self.ask(actor, document, **variables)
        assert said.errors is None, said.errors
        return next(iter(said.data.values()))

    async def no(self, actor, document, **variables):
        said = await self.ask(actor, document, **variables)
        (error,) = said.errors
        return error.extensions["code"]


@pytest.fixture
async def calls(engine):
    bus = open_bus("memory://")
    await bus.start()
    yield Calls(engine, bus)
    await bus.stop()


def report(seq, at, point=HOME.point):
    return {
        "deviceId": "phone",
        "seq": seq,
        "point": {"lat": point.lat, "lng": point.lng},
        "at": at.isoformat(),
        "headingDegrees": 90,
    }


async def test_from_the_offer_to_the_door(engine, calls):
    made, rider = await trip(engine), await on_duty(engine, "Ravi", "+919811111111")
    offer_id = await offered(engine, made.delivery_id, rider)

    told = await calls.say(rider, RIDER)
    assert (told["id"], told["onDuty"], told["viewer"]["name"]) == (str(rider.id), True, "Ravi")
    (offer,) = told["offers"]
    (card,) = offer["deliveries"]
    assert card["store"] == {"id": str(made.shop.store_id)}
    rough = coarse(HOME.point)
    assert card["dropArea"] == {"lat": rough.lat, "lng": rough.lng}
    assert [card[name] for name in ("order", "cashDue", "riderName", "riderPhone", "etaAt", "position")] == [None] * 6

    accepted = await calls.say(rider, ACCEPT, id=str(offer_id))
    assert await calls.say(rider, ACCEPT, id=str(offer_id)) == accepted
    (mine,) = accepted["deliveries"]
    assert (accepted["status"], mine["status"]) == ("ACCEPTED", "ASSIGNED")
    assert mine["dropArea"] == {"lat": HOME.point.lat, "lng": HOME.point.lng}
    assert mine["order"] == {"id": str(made.order_id), "address": {"line1": HOME.line1}, "customerName": "Asha"}
    assert float(mine["cashDue"]["amount"]) > 0

    now = await calls.reads.value(select(func.clock_timestamp()))
    told = await calls.say(rider, REPORT, positions=[report(1, now)])
    assert told["accepted"] == 1
    for name, status in [("arriveAtStore", "AT_STORE"), ("pickUp", "PICKED_UP"), ("arriveAtDoor", "AT_DOOR")]:
        for _ in range(2):
            assert (await calls.say(rider, step(name), id=str(made.delivery_id)))["status"] == status

    for who in (made.customer, made.shop.owner, await support(engine)):
        seen = (await calls.say(who, ORDER, id=str(made.order_id)))["delivery"]
        assert (seen["riderName"], seen["riderPhone"], seen["status"]) == ("Ravi", "+919811111111", "AT_DOOR")
        assert seen["position"]["point"] == {"lat": HOME.point.lat, "lng": HOME.point.lng}
        assert seen["position"]["headingDegrees"] == 90

    code = await code_of(engine, made.order_id)
    wrong = await calls.say(rider, DELIVER, id=str(made.delivery_id), code=another(code))
    assert (wrong["__typename"], wrong["code"], wrong["triesLeft"]) == ("WrongCode", "WRONG_CODE", 4)
    assert (await calls.say(rider, DELIVER, id=str(made.delivery_id)))["triesLeft"] == 4
    done = await calls.say(rider, DELIVER, id=str(made.delivery_id), code=code)
    assert (done["__typename"], done["status"]) == ("Delivery", "DELIVERED")
    assert done["order"]["address"] is None  # no longer this rider's to know

    seen = (await calls.say(made.customer, ORDER, id=str(made.order_id)))["delivery"]
    assert [seen[name] for name in ("riderName", "riderPhone", "position", "cashDue")] == [None] * 4


async def test_a_step_out_of_turn_is_an_answer(engine, calls):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    said = await calls.say(rider, step("arriveAtDoor"), id=str(made.delivery_id))
    assert said == {
        "__typename": "WrongDeliveryState",
        "code": "WRONG_DELIVERY_STATE",
        "message": "a delivery that is ASSIGNED cannot become AT_DOOR",
        "status": "ASSIGNED",
    }


async def test_an_offer_that_is_gone_is_an_answer(engine, calls):
    made, rider = await trip(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    async with unit_of_work(engine) as uow:
        command = fulfilment.CancelOrder(made.order_id, ReasonCode.TOO_BUSY, None)
        await fulfilment.cancel_order(command, made.shop.owner, uow)
    said = await calls.say(rider, ACCEPT, id=str(offer_id))
    assert (said["__typename"], said["status"]) == ("OfferGone", "WITHDRAWN")
    assert await calls.say(rider, DECLINE, id=str(offer_id), reason="TOO_FAR") is False


async def test_a_dropped_delivery_is_still_an_answer_and_so_is_its_repeat(engine, calls):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    first = await calls.say(rider, DROP, id=str(made.delivery_id))
    assert (first["status"], first["order"]) == ("SEARCHING", None)
    assert await calls.say(rider, DROP, id=str(made.delivery_id)) == first


async def test_what_failed_can_be_tried_again_or_brought_back(engine, calls):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    assert (await calls.say(rider, FAIL, id=str(made.delivery_id)))["status"] == "FAILED"
    assert await calls.no(rider, DUTY, on=False) == "CONFLICT"
    steps = [("retryDelivery", "PICKED_UP"), ("returnDelivery", None), ("arriveAtDoor", "AT_DOOR")]
    for name, status in steps:
        said = await calls.say(rider, step(name), id=str(made.delivery_id))
        assert said["status"] == (status or "PICKED_UP")
        assert said["__typename"] == ("Delivery" if status else "WrongDeliveryState")
    await calls.say(rider, FAIL, id=str(made.delivery_id))
    for name, status in [("returnDelivery", "RETURNING"), ("finishReturn", "RETURNED")]:
        assert (await calls.say(rider, step(name), id=str(made.delivery_id)))["status"] == status
    assert (await calls.say(rider, DUTY, on=False))["onDuty"] is False


async def test_one_rider_sees_nothing_of_anothers(engine, calls):
    made, rider, other = await trip(engine), await on_duty(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    assert await calls.no(other, ACCEPT, id=str(offer_id)) == "NOT_FOUND"
    assert await calls.no(other, DECLINE, id=str(offer_id), reason="OTHER") == "NOT_FOUND"
    await calls.say(rider, ACCEPT, id=str(offer_id))
    assert await calls.no(other, ACCEPT, id=str(offer_id)) == "NOT_FOUND"
    for name in ("arriveAtStore", "pickUp", "arriveAtDoor", "retryDelivery", "returnDelivery", "finishReturn"):
        assert await calls.no(other, step(name), id=str(made.delivery_id)) == "NOT_FOUND"
    for document in (DELIVER, DROP, FAIL):
        assert await calls.no(other, document, id=str(made.delivery_id)) == "NOT_FOUND"
    told = await calls.say(other, RIDER)
    assert (told["offers"], told["deliveries"]["nodes"]) == ([], [])
    for stranger in (other, await account(engine), (await shop(engine)).owner):
        assert await calls.say(stranger, ORDER, id=str(made.order_id)) is None


async def test_only_riders_ride(engine, calls):
    made, customer = await trip(engine), await account(engine)
    documents = [
        RIDER,
        DUTY,
        REPORT,
        ACCEPT,
        DECLINE,
        DELIVER,
        DROP,
        FAIL,
        step("pickUp"),
        step("arriveAtStore"),
        step("arriveAtDoor"),
    ]
    variables = {"on": True, "positions": [], "id": str(made.delivery_id), "reason": "OTHER"}
    for document in documents:
        named = {name: variables[name] for name in re.findall(r"\$(\w+): \S+!", document)}
        assert await calls.no(customer, document, **named) == "FORBIDDEN"
        assert await calls.no(made.shop.owner, document, **named) == "FORBIDDEN"
        assert await calls.no(ANYBODY, document, **named) == "UNAUTHENTICATED"


async def test_support_helps(engine, calls):
    made, rider, desk = await trip(engine), await on_duty(engine), await support(engine)
    document = f"mutation($id: ID!, $to: ID!) {{ assignRider(deliveryId: $id, riderId: $to) {{ {ANSWER} {WRONG} }} }}"
    assert (await calls.say(desk, document, id=str(made.delivery_id), to=str(rider.id)))["status"] == "ASSIGNED"
    await calls.say(rider, step("pickUp"), id=str(made.delivery_id))
    wrong = another(await code_of(engine, made.order_id))
    for _ in range(6):
        said = await calls.say(rider, DELIVER, id=str(made.delivery_id), code=wrong)
    assert said["triesLeft"] == 0
    assert await calls.no(rider, step("renewCodeTries"), id=str(made.delivery_id)) == "FORBIDDEN"
    await calls.say(desk, step("renewCodeTries"), id=str(made.delivery_id))
    assert (await calls.say(rider, DELIVER, id=str(made.delivery_id), code=wrong))["triesLeft"] == 4


async def test_the_latest_position_counts_whatever_the_order_of_a_batch(engine, calls):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    now = await calls.reads.value(select(func.clock_timestamp()))
    batch = [report(n, now - timedelta(seconds=10 - n)) for n in (3, 9, 1, 9)]
    future = report(20, now + timedelta(minutes=2))
    said = await calls.say(rider, REPORT, positions=[*batch, future])
    assert (said["accepted"], said["nextInSeconds"]) == (3, 2)
    assert (await calls.say(rider, REPORT, positions=batch))["accepted"] == 0
    seen = (await calls.say(made.customer, ORDER, id=str(made.order_id)))["delivery"]["position"]
    assert seen["at"].startswith((now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S"))
    assert await calls.no(rider, REPORT, positions=[report(1, now)] * 101) == "INVALID_INPUT"


async def test_the_list_of_deliveries_costs_the_same_however_long(engine, calls):
    rider = await on_duty(engine)
    counts = []

    def counted(*_):
        counts[-1] += 1

    for _ in range(2):
        for _ in range(3):
            made = await trip(engine)
            await picked_up(engine, made.delivery_id, rider)
            await calls.say(rider, DELIVER, id=str(made.delivery_id), code=await code_of(engine, made.order_id))
        counts.append(0)
        event.listen(engine.sync_engine, "before_cursor_execute", counted)
        told = await calls.say(rider, f"{{ rider {{ deliveries {{ nodes {{ {DELIVERY} }} }} }} }}")
        event.remove(engine.sync_engine, "before_cursor_execute", counted)
    assert len(told["deliveries"]["nodes"]) == 6
    assert counts[0] == counts[1] <= 5


async def test_deliveries_are_found_by_status_and_by_page(engine, calls):
    rider = await on_duty(engine)
    made = []
    for _ in range(3):
        made.append(await trip(engine))
        await picked_up(engine, made[-1].delivery_id, rider)
        await calls.say(rider, FAIL, id=str(made[-1].delivery_id))
        for name in ("returnDelivery", "finishReturn"):
            await calls.say(rider, step(name), id=str(made[-1].delivery_id))
    page = """query($after: String, $status: [DeliveryStatus!]) { rider { deliveries(first: 2, after: $after, status: $status) {
        nodes { id } pageInfo { hasNextPage endCursor } } } }"""
    first = (await calls.say(rider, page))["deliveries"]
    rest = (await calls.say(rider, page, after=first["pageInfo"]["endCursor"]))["deliveries"]
    assert [node["id"] for node in first["nodes"] + rest["nodes"]] == [str(one.delivery_id) for one in reversed(made)]
    assert (first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)
    assert (await calls.say(rider, page, status=["DELIVERED"]))["deliveries"]["nodes"] == []
