"""Riders: on duty, asked, there and back."""

import asyncio
from datetime import UTC, datetime
from itertools import count

from simulate.api import Answered, Caller, Socket
from simulate.plan import Fate
from simulate.seen import Bought, Document
from simulate.town import Begin, Store, Town

DUTY = "mutation ($on: Boolean!) { setDuty(onDuty: $on) { id } }"
OFFERS = """subscription ($after: String) { riderOffers(after: $after) { cursor reset degraded
  offers { id status expiresAt } } }"""
RESULT = "__typename ... on Delivery { id status } ... on Refusal { code message }"
ACCEPT = """mutation ($id: ID!) { acceptOffer(offerId: $id) {
  __typename ... on Offer { id deliveries { id order { id } } } ... on Refusal { code message } } }"""
UNDER_WAY = (
    "{ rider { deliveries(status: [ASSIGNED, AT_STORE, PICKED_UP, AT_DOOR], first: 10) { nodes { id status order { id } } } } }"
)
STEPS = {
    name: f"mutation ($id: ID!) {{ {name}(deliveryId: $id) {{ {RESULT} }} }}"
    for name in ("arriveAtStore", "pickUp", "arriveAtDoor", "retryDelivery")
}
DROP = f"mutation ($id: ID!) {{ dropDelivery(deliveryId: $id, reason: VEHICLE) {{ {RESULT} }} }}"
FAIL = f"mutation ($id: ID!, $reason: ReasonCode!) {{ failDelivery(deliveryId: $id, reason: $reason) {{ {RESULT} }} }}"
DELIVER = f"mutation ($id: ID!, $code: String!) {{ deliver(deliveryId: $id, handoverCode: $code) {{ {RESULT} }} }}"
REPORT = "mutation ($positions: [PositionInput!]!) { reportPositions(positions: $positions) { accepted nextInSeconds } }"


class NotSo(Exception):
    """The trip has taken another turn: its order was cancelled, or it is another's."""


class Rider:
    def __init__(self, town: Town, caller: Caller, pace_s: float, store: Store, begin: Begin) -> None:
        self.town, self.seen, self.caller, self.pace_s, self.begin = town, town.seen, caller, pace_s, begin
        self.socket = Socket(town.doors, caller)
        self.lat, self.lng = store.lat + 0.002, store.lng - 0.002
        self.begun: set[str] = set()

    async def open(self) -> None:
        await self.caller.ask(DUTY, on=True)
        self.seen.on_duty += 1
        self.seen.riders[self.caller.login] += 0
        for trip in (await self.caller.ask(UNDER_WAY))["rider"]["deliveries"]["nodes"]:
            self.begin(self.give_up(trip))  # of a simulation that was killed
        await self.socket.follow(OFFERS, self.on_offers)

    async def close(self) -> None:
        try:
            await self.caller.ask(DUTY, on=False)
        except Answered as no:
            self.seen.refused[no.code] += 1  # still on the way

    def on_offers(self, frame: Document) -> None:
        for offer in frame["offers"]:
            if offer["status"] == "OPEN" and offer["id"] not in self.begun:
                self.begun.add(offer["id"])
                self.begin(self.take(offer["id"]))

    async def report(self) -> None:
        """As often as the server wants to hear."""
        for seq in count(1):
            point = {"lat": round(self.lat, 6), "lng": round(self.lng + seq % 7 * 0.0002, 6)}
            now = datetime.now(UTC).isoformat()
            try:
                told = await self.caller.ask(
                    REPORT, positions=[{"deviceId": f"sim-{self.seen.run}", "seq": seq, "point": point, "at": now}]
                )
                pause_s = told["reportPositions"]["nextInSeconds"]
            except Answered as no:
                self.seen.refused[no.code] += 1
                pause_s = 5
            await asyncio.sleep(max(pause_s, 1))

    async def take(self, offer_id: str) -> None:
        try:
            await asyncio.sleep(self.pace_s)
            answer = (await self.caller.ask(ACCEPT, id=offer_id))["acceptOffer"]
            if answer["__typename"] != "Offer":
                self.seen.refused[answer["code"]] += 1
                return
            for trip in answer["deliveries"]:
                await self.ride(trip)
        except (NotSo, Answered) as no:
            self.seen.refused[no.code if isinstance(no, Answered) else str(no)] += 1

    async def ride(self, trip: Document) -> None:
        bought = await self.seen.order(trip["order"]["id"])
        if bought is None:
            await self.give_up(trip)
            return
        for name in ("arriveAtStore", "pickUp", "arriveAtDoor"):
            await self.step(STEPS[name], trip["id"])
        await self.hand_over(trip["id"], bought)

    async def hand_over(self, delivery_id: str, bought: Bought) -> None:
        if bought.buy.fate is Fate.LOST:
            await self.step(FAIL, delivery_id, reason="LOST")
            return
        if bought.buy.fate is Fate.RETRIED:
            await self.step(FAIL, delivery_id, reason="CUSTOMER_ABSENT")
            await self.step(STEPS["retryDelivery"], delivery_id)
        await self.step(DELIVER, delivery_id, code=bought.code or "")
        self.seen.riders[self.caller.login] += 1

    async def give_up(self, trip: Document) -> None:
        """Somebody else's order, whose code nobody tells us."""
        try:
            late = trip.get("status") in ("PICKED_UP", "AT_DOOR")
            await (self.step(FAIL, trip["id"], reason="LOST") if late else self.step(DROP, trip["id"]))
        except (NotSo, Answered):
            self.seen.notes.append("a rider could not give up somebody else's delivery")

    async def step(self, document: str, delivery_id: str, **more: str) -> None:
        """Raises NotSo."""
        await asyncio.sleep(self.pace_s)
        [answer] = (await self.caller.ask(document, id=delivery_id, **more)).values()
        if answer["__typename"] != "Delivery":
            raise NotSo(answer["code"])
