"""What must hold of any town, whatever was done to it: asked through the support door, as anybody at the desk could."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from simulate.api import Answered
from simulate.newcomers import Newcomer
from simulate.plan import Fate
from simulate.post import MARK
from simulate.seen import TERMINAL, Bought, Document, Sent
from simulate.servers import Told
from simulate.town import Town
from tests.simulators.calls import Flaw

SETTLED_WITHIN_S = 15.0
HEALED_WITHIN_S = 6.0
CLOCKS_DIFFER = timedelta(minutes=1)
LISTINGS_SUMMED = 8

AUDIT = "{ support { stockAudit { listing { id } counter level ledger } } }"
DETAIL = """query ($store: ID!, $text: String!) { merchant { stock(storeId: $store, text: $text, first: 10) {
  nodes { listing { id } onHand held allocated available version } } } }"""
MOVEMENTS = """query ($store: ID!, $text: String!, $after: String) { merchant { stock(storeId: $store, text: $text, first: 10) {
  nodes { listing { id } movements(first: 50, after: $after) {
    nodes { onHand held allocated } pageInfo { hasNextPage endCursor } } } } } }"""
SOURCES = "{ support { sources { id provider received } } }"
FAILURES = """query ($provider: String, $after: String) { support { failures(provider: $provider, first: 50, after: $after) {
  nodes { id kind state at payload { id state headers body } } pageInfo { hasNextPage endCursor } } } }"""
PAYLOAD = "query ($id: ID!) { support { payload(id: $id) { id state body headers } } }"
RESOLVE = 'mutation ($id: ID!) { resolveFailure(id: $id, state: IGNORED, note: "simulated") { id } }'
ORDER = """query ($id: ID!) { support { order(id: $id) { id number status version history { seq status by }
  total { amount } refunded { amount } delivery { status } purchase { id orders { id } payment { method status } } } } }"""
BY_NUMBER = "query ($number: String!) { support { order(number: $number) { id } } }"
MINE = """query ($after: String) { customer { orders(first: 50, after: $after) {
  nodes { id } pageInfo { hasNextPage endCursor } } } }"""
PAGES = 40

# The machine, written down a second time on purpose: from the design, not from the server's own table.
STEPS = {
    "PAYMENT_PENDING": {"PLACED", "EXPIRED", "CANCELLED"},
    "PLACED": {"ACCEPTED", "REJECTED", "CANCELLED", "EXPIRED"},
    "ACCEPTED": {"READY", "CANCELLED"},
    "READY": {"PICKED_UP", "CANCELLED", "DELIVERED"},
    "PICKED_UP": {"DELIVERED", "UNDELIVERED"},
    "UNDELIVERED": {"PICKED_UP", "RETURNED"},
}
FIRST = {"PAYMENT_PENDING", "PLACED"}
PAID = {"CASH_COLLECTED", "CAPTURED", "PARTLY_REFUNDED", "REFUNDED"}
CAPTURED = {"CAPTURED", "PARTLY_REFUNDED", "REFUNDED"}  # and given back by a worker, soon
GIVEN_BACK = {"VOIDED", "FAILED", *CAPTURED}
KINDS = {
    Flaw.FORGED: "AUTH",
    Flaw.DUPLICATE: "DUPLICATE",
    Flaw.STALE: "STALE",
    Flaw.UNKNOWN: "MAPPING",
    Flaw.ALTERED: "VALIDATION",
    Flaw.BROKEN: "VALIDATION",
}
STATES = {
    Flaw.FORGED: {"REJECTED"},
    Flaw.DUPLICATE: {"DUPLICATE"},
    Flaw.UNKNOWN: {"PARKED", "ACCEPTED"},
    Flaw.ALTERED: {"REJECTED"},
    Flaw.BROKEN: {"REJECTED"},
}


@dataclass
class Check:
    name: str
    broken: list[str] = field(default_factory=list)
    looked_at: int = 0

    @property
    def holds(self) -> bool:
        return not self.broken


async def received(town: Town) -> dict[str, int]:
    """Payloads of each source, by its id."""
    return {source["id"]: source["received"] for source in (await town.support.ask(SOURCES))["support"]["sources"]}


async def check(
    town: Town, before: dict[str, int], began_at: datetime, newcomers: Sequence[Newcomer], told: Sequence[Told]
) -> list[Check]:
    """`before` is what `received` said when the run began. A check that cannot be made does not hold."""
    checks: dict[str, Callable[[Check], Awaitable[None]]] = {
        "nothing is oversold": lambda one: _stock(one, town),
        "customers are shown what each provider says": lambda one: _books(one, town, newcomers),
        "tills are told of their stores' orders": lambda one: _told(one, town, told),
        "every payload is accounted for": lambda one: _payloads(one, town, before, began_at),
        "every order is legal": lambda one: _orders(one, town),
        "every acknowledged order exists once": lambda one: _once(one, town),
        "frames never go back": lambda one: _frames(one, town),
        "no door failed": lambda one: _doors(one, town),
    }
    return [await _made(Check(name), look) for name, look in checks.items()]


async def _made(one: Check, look: Callable[[Check], Awaitable[None]]) -> Check:
    try:
        await look(one)
    except (Answered, KeyError, TypeError) as error:
        one.broken.append(f"could not be checked: {type(error).__name__}: {error}")
    return one


# ---------------------------------------------------------------- stock


async def _stock(one: Check, town: Town) -> None:
    for found in (await town.support.ask(AUDIT))["support"]["stockAudit"]:
        one.broken.append(
            f"listing {found['listing']['id']}: {found['counter']} is {found['level']}, its movements say {found['ledger']}"
        )
    one.broken += [line for line in town.seen.frames.broken if "available" in line]
    touched = [
        (store, listing)
        for store in town.stores
        for listing in store.listings
        if listing.id in town.seen.touched and not listing.on_menu
    ]
    for store, listing in touched[:LISTINGS_SUMMED]:
        one.looked_at += 1
        await _sum(one, town, store.id, listing.id, listing.sku)


async def _sum(one: Check, town: Town, store_id: str, listing_id: str, sku: str) -> None:
    """Our own sum of a listing's movements, read as its merchant reads them."""
    differs = ""
    for _ in range(3):  # the clock may release a hold between two pages
        detail = await _detail(town, store_id, listing_id, sku)
        if detail is None:
            return
        movements = [step async for step in _pages(town, store_id, listing_id, sku)]
        sums = {counter: sum(step[counter] for step in movements) for counter in ("onHand", "held", "allocated")}
        if any(detail[counter] < 0 for counter in sums):
            one.broken.append(f"{sku}: a counter is negative: {detail}")
        differs = ", ".join(
            f"{counter} is {detail[counter]} and sums to {told}" for counter, told in sums.items() if detail[counter] != told
        )
        if not differs:
            return
    one.broken.append(f"{sku}: {differs}")


async def _detail(town: Town, store_id: str, listing_id: str, sku: str) -> Document | None:
    """None: the search does not find it, or it is not counted."""
    nodes = (await town.merchant.ask(DETAIL, store=store_id, text=sku))["merchant"]["stock"]["nodes"]
    found: Document | None = next((node for node in nodes if node["listing"]["id"] == listing_id), None)
    return found if found and found["onHand"] is not None else None


async def _pages(town: Town, store_id: str, listing_id: str, sku: str) -> Any:
    after = None
    for _ in range(PAGES):
        nodes = (await town.merchant.ask(MOVEMENTS, store=store_id, text=sku, after=after))["merchant"]["stock"]["nodes"]
        page = next(node for node in nodes if node["listing"]["id"] == listing_id)["movements"]
        for step in page["nodes"]:
            yield step
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


async def _books(one: Check, town: Town, newcomers: Sequence[Newcomer]) -> None:
    """Prices, counts, what is on and off: read as customers read it. The status of their stores was looked at as it was told."""
    one.broken += town.seen.differences
    for newcomer in newcomers:
        one.looked_at += len(newcomer.caller.things)
        one.broken += await newcomer.differences()


async def _told(one: Check, town: Town, tills: Sequence[Told]) -> None:
    for till in tills:
        one.looked_at += len(till.has())
        one.broken += await till.differences(town)


# ---------------------------------------------------------------- payloads


async def _payloads(one: Check, town: Town, before: dict[str, int], began_at: datetime) -> None:
    sent = town.seen.webhooks
    one.looked_at = len(sent)
    for call in sent:
        if not call.promised:
            kind = call.flaw.value.lower() if call.flaw else "good"
            one.broken.append(f"{call.ref} ({call.provider}, {kind}) was answered {call.status} {call.answer[:120]}")
    answered = [call for call in sent if call.status]
    await _counted(one, town, before, answered)
    failures = await _failures(town, answered, began_at)
    for call in answered:
        for line in judged(call, failures.get(call.ref, [])):
            one.broken.append(f"{call.ref} ({call.provider}): {line}")
    await _kept(one, town, answered, failures)
    await _framed(one, town, failures)


async def _framed(one: Check, town: Town, failures: dict[str, list[Document]]) -> None:
    """What failed was told to who follows the failures, within the time that heals a lost bus."""
    ours = {failure["id"]: ref for ref, found in failures.items() for failure in found}
    with suppress(TimeoutError):
        await asyncio.wait_for(town.seen.all_failed(ours.keys()), HEALED_WITHIN_S)
    for failure_id in sorted(ours.keys() - town.seen.failed):
        one.broken.append(f"{ours[failure_id]}: its failure {failure_id} came in no frame")


async def _counted(one: Check, town: Town, before: dict[str, int], answered: Sequence[Sent]) -> None:
    """More may have come from elsewhere; fewer means that one which was answered is not there."""
    now = await received(town)
    for source_id in sorted({call.source_id for call in answered if call.source_id}):
        ours = sum(call.source_id == source_id for call in answered)
        more = now[source_id] - before.get(source_id, 0)
        if more < ours:
            one.broken.append(f"source {source_id} was sent {ours} payloads and has {more} more than before")
        elif more > ours:
            town.seen.notes.append(f"source {source_id} has {more - ours} payloads more than we have answers for")


async def _failures(town: Town, answered: Sequence[Sent], began_at: datetime) -> dict[str, list[Document]]:
    """Of this run, by our mark. Waits for the worker: what must fail has failed when it has come to it."""
    ours = {call.ref for call in answered}
    due = {call.ref for call in answered if call.flaw and not call.unsure}
    deadline = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
    while True:
        found: dict[str, list[Document]] = {}
        for provider in sorted({call.provider for call in answered}):
            async for failure in _of_provider(town, provider, began_at):
                if (ref := mark_of(failure["payload"])) in ours:
                    found.setdefault(ref, []).append(failure)
        if due <= found.keys() or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.5)


async def _of_provider(town: Town, provider: str, began_at: datetime) -> Any:
    after = None
    for _ in range(PAGES):
        page = (await town.support.ask(FAILURES, provider=provider, after=after))["support"]["failures"]
        for failure in page["nodes"]:
            if datetime.fromisoformat(failure["at"]) < began_at - CLOCKS_DIFFER:
                return
            yield failure
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


def mark_of(payload: Document) -> str:
    """Headers are text, one a line."""
    begin = f"{MARK}: "
    return next((line.removeprefix(begin) for line in payload["headers"].splitlines() if line.startswith(begin)), "")


def judged(call: Sent, failures: Sequence[Document]) -> Iterable[str]:
    kinds = {failure["kind"] for failure in failures}
    due = KINDS[call.flaw] if call.flaw else None
    if due and due not in kinds and not call.unsure:
        yield f"should have failed as {due}, and failed as {sorted(kinds) or 'nothing'}"
    allowed = {due} | ({"STALE"} if call.absolute else set()) | ({"DUPLICATE"} if call.again else set())
    allowed |= {"MAPPING"} if call.early else set()
    for kind in sorted(kinds - allowed):
        yield f"failed as {kind}"
    for failure in failures:
        if failure["kind"] == due and call.flaw in STATES and failure["payload"]["state"] not in STATES[call.flaw]:
            yield f"its payload is {failure['payload']['state']}"


async def _kept(one: Check, town: Town, answered: Sequence[Sent], failures: dict[str, list[Document]]) -> None:
    """Whose failures we know, we can read: byte for byte."""
    for call in answered:
        for payload_id in sorted({failure["payload"]["id"] for failure in failures.get(call.ref, [])}):
            kept = (await town.support.ask(PAYLOAD, id=payload_id))["support"]["payload"]
            if kept is None:
                one.broken.append(f"{call.ref}: payload {payload_id} has a failure and is not there")
            elif kept["body"] != call.body:
                one.broken.append(f"{call.ref}: payload {payload_id} is not what was sent")


async def tidy(town: Town, began_at: datetime) -> None:
    """What we made fail on purpose is nobody's work at the desk."""
    ours = f"sim-{town.seen.run}-"
    for provider in sorted({call.provider for call in town.seen.webhooks}):
        async for failure in _of_provider(town, provider, began_at):
            if failure["state"] == "OPEN" and mark_of(failure["payload"]).startswith(ours):
                await town.support.ask(RESOLVE, id=failure["id"])


# ---------------------------------------------------------------- orders


async def _orders(one: Check, town: Town) -> None:
    for bought in town.seen.orders.values():
        one.looked_at += 1
        order = (await town.support.ask(ORDER, id=bought.id))["support"]["order"]
        if order is None:
            one.broken.append(f"order {bought.number} is not there")
            continue
        one.broken += [f"order {bought.number}: {line}" for line in illegal(order, bought)]


def illegal(order: Document, bought: Bought) -> Iterable[str]:
    steps = order["history"]
    if [step["seq"] for step in steps] != list(range(1, order["version"] + 1)):
        yield f"is at version {order['version']}, its history at {[step['seq'] for step in steps]}"
    walked = [step["status"] for step in steps]
    if not walked or walked[0] not in FIRST:
        yield f"begins as {walked[:1]}"
    for start, end in pairwise(walked):
        if start != end and end not in STEPS.get(start, ()):  # the same again is a note, as of a sale beyond the count
            yield f"became {end} from {start}"
    if walked and walked[-1] != order["status"]:
        yield f"is {order['status']}, its history ends with {walked[-1]}"
    if order["version"] < bought.version:
        yield f"is at version {order['version']} after we were told of {bought.version}"
    yield from _sensible(order, bought.buy.fate)


def _sensible(order: Document, fate: Fate) -> Iterable[str]:
    """Payment and delivery agree with how the order ended."""
    status, payment = order["status"], order["purchase"]["payment"]["status"]
    delivery = order["delivery"]["status"] if order["delivery"] else None
    if status == "DELIVERED":
        if payment not in PAID:
            yield f"is DELIVERED and its payment {payment}"
        if fate is not Fate.COLLECTED and delivery != "DELIVERED":
            yield f"is DELIVERED and its delivery {delivery}"
    elif status in ("REJECTED", "CANCELLED", "EXPIRED"):
        if payment not in GIVEN_BACK:
            yield f"is {status} and its payment {payment}"
        if delivery not in (None, "CANCELLED"):
            yield f"is {status} and its delivery {delivery}"
        if payment in CAPTURED and order["refunded"] != order["total"]:
            yield f"is {status}, was paid for {order['total']['amount']} and gives back {order['refunded']['amount']}"
    elif status not in TERMINAL and delivery in ("DELIVERED", "CANCELLED", "RETURNED"):
        yield f"is {status} and its delivery {delivery}"


async def _once(one: Check, town: Town) -> None:
    """By id, by number, and in its customer's own list."""
    listed: list[str] = []
    for customer in town.customers:
        after = None
        for _ in range(PAGES):
            page = (await customer.ask(MINE, after=after))["customer"]["orders"]
            listed += [node["id"] for node in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"] or not town.seen.orders.keys() - set(listed):
                break
    for bought in town.seen.orders.values():
        one.looked_at += 1
        times = listed.count(bought.id)
        if times != 1:
            one.broken.append(f"order {bought.number} is {times} times in its customer's list")
        found = (await town.support.ask(BY_NUMBER, number=bought.number))["support"]["order"]
        if found is None or found["id"] != bought.id:
            one.broken.append(f"number {bought.number} finds {found and found['id']}, not {bought.id}")
    purchases = [bought.purchase_id for bought in town.seen.orders.values()]
    if len(set(purchases)) != len(purchases):
        one.broken.append("a cart of one store became several orders of one purchase")


async def _frames(one: Check, town: Town) -> None:
    one.looked_at = town.seen.frames.received
    one.broken += [line for line in town.seen.frames.broken if "available" not in line]


async def _doors(one: Check, town: Town) -> None:
    one.broken += town.seen.failures
