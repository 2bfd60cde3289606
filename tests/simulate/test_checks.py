"""What the checks call broken."""

from typing import Any

import pytest

from simulate.checks import illegal, judged, mark_of
from simulate.plan import Buy, Fate
from simulate.seen import Bought, Frames, Sent
from tests.simulators.calls import Flaw

AT = "2026-01-05T10:15:00Z"


def level(version: int, available: int | None = 3) -> dict[str, Any]:
    return {"listingId": "tea", "version": version, "available": available, "asOf": AT}


def bought(fate: Fate = Fate.DELIVERED) -> Bought:
    buy = Buy(0, 0, 0, (), fate, by_card=False, twice=False, accept_after_s=0, ready_after_s=0)
    return Bought("id", "R5V5B8Q9", "purchase", buy, None, "DELIVERED", 1)


def order(
    *statuses: str, payment: str = "CASH_COLLECTED", delivery: str | None = "DELIVERED", refunded: str = "0.00"
) -> dict[str, Any]:
    return {
        "status": statuses[-1],
        "version": len(statuses),
        "history": [{"seq": seq, "status": status} for seq, status in enumerate(statuses, 1)],
        "purchase": {"payment": {"status": payment}},
        "delivery": {"status": delivery} if delivery else None,
        "total": {"amount": "120.00"},
        "refunded": {"amount": refunded},
    }


def sent(flaw: Flaw | None, *, absolute: bool = False, unsure: bool = False, early: bool = False) -> Sent:
    return Sent("sim-1", "wms", "source", "{}", flaw, absolute=absolute, unsure=unsure, early=early)


def failure(kind: str, state: str) -> dict[str, Any]:
    return {"kind": kind, "payload": {"state": state}}


def test_a_version_that_goes_back_and_units_below_nothing_are_broken():
    frames = Frames()
    frames.level("stock", level(4), reset=True)
    frames.level("stock", level(4), reset=True)
    frames.level("stock", level(9, None), reset=False)
    assert not frames.broken
    frames.level("stock", level(8), reset=False)
    frames.level("stock", level(10, -1), reset=False)
    assert frames.broken == ["stock: tea went from version 9 back to 8", "stock: -1 available of listing tea"]


def test_snapshots_are_not_measured():
    frames = Frames()
    frames.level("stock", level(1), reset=True)
    assert frames.percentile_ms(0.5) is None
    frames.level("stock", level(2), reset=False)
    assert len(frames.latencies_ms) == 1


@pytest.mark.parametrize(
    "legal",
    [
        order("PLACED", "ACCEPTED", "READY", "PICKED_UP", "DELIVERED"),
        order("PLACED", "ACCEPTED", "READY", "PICKED_UP", "PICKED_UP", "UNDELIVERED", "PICKED_UP", "DELIVERED"),
        order("PAYMENT_PENDING", "PLACED", "REJECTED", payment="CAPTURED", delivery=None, refunded="120.00"),
        order("PAYMENT_PENDING", "CANCELLED", payment="FAILED", delivery=None),
    ],
)
def test_lives_of_the_design_are_legal(legal: dict[str, Any]):
    assert not list(illegal(legal, bought()))


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        (order("ACCEPTED", "READY", "PICKED_UP", "DELIVERED"), "begins as ['ACCEPTED']"),
        (order("PLACED", "READY", "PICKED_UP", "DELIVERED"), "became READY from PLACED"),
        (
            order("PLACED", "ACCEPTED", "READY", "PICKED_UP", "DELIVERED") | {"version": 6},
            "is at version 6, its history at [1, 2, 3, 4, 5]",
        ),
        (
            order("PLACED", "ACCEPTED", "READY", "PICKED_UP", "DELIVERED", payment="CASH_DUE"),
            "is DELIVERED and its payment CASH_DUE",
        ),
        (
            order("PLACED", "ACCEPTED", "READY", "PICKED_UP", "DELIVERED", delivery="AT_DOOR"),
            "is DELIVERED and its delivery AT_DOOR",
        ),
        (
            order("PAYMENT_PENDING", "PLACED", "CANCELLED", payment="CAPTURED", delivery=None, refunded="20.00"),
            "is CANCELLED, was paid for 120.00 and gives back 20.00",
        ),
    ],
)
def test_what_no_order_may_be(wrong: dict[str, Any], because: str):
    assert because in list(illegal(wrong, bought()))


@pytest.mark.parametrize(
    ("call", "failures", "because"),
    [
        (sent(None), [failure("PROCESSING", "FAILED")], ["failed as PROCESSING"]),
        (sent(Flaw.FORGED), [], ["should have failed as AUTH, and failed as nothing"]),
        (sent(Flaw.FORGED), [failure("AUTH", "APPLIED")], ["its payload is APPLIED"]),
        (sent(Flaw.FORGED), [failure("AUTH", "REJECTED")], []),
        (sent(Flaw.UNKNOWN), [failure("MAPPING", "PARKED")], []),
        (sent(Flaw.DUPLICATE), [], ["should have failed as DUPLICATE, and failed as nothing"]),
        (sent(Flaw.DUPLICATE, unsure=True), [], []),
        (sent(Flaw.ALTERED), [failure("VALIDATION", "ACCEPTED")], ["its payload is ACCEPTED"]),
        (sent(Flaw.BROKEN), [failure("VALIDATION", "REJECTED")], []),
        (sent(None, absolute=True), [failure("STALE", "APPLIED")], []),
        (sent(None, early=True), [failure("MAPPING", "APPLIED")], []),
        (sent(None), [failure("MAPPING", "PARKED")], ["failed as MAPPING"]),
        (sent(None), [failure("STALE", "APPLIED")], ["failed as STALE"]),
    ],
)
def test_each_call_fails_as_it_was_promised_and_no_other(call: Sent, failures: list[dict[str, Any]], because: list[str]):
    assert list(judged(call, failures)) == because


def test_a_payload_is_known_again_by_our_mark():
    assert mark_of({"headers": ":path: webhooks/stock\nx-simulated: sim-1\nz: 1"}) == "sim-1"
    assert mark_of({"headers": "host: elsewhere"}) == ""
