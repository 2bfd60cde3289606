"""What a source's word does to an order, by how the order stands."""

from uuid import UUID

import pytest

from domain.canonical import AcceptOrder, OrderItem, OrderStatus, OrderWord, RejectOrder, sold_out
from domain.intake import EntityKind, FailureKind, InstructionState
from domain.money import Money
from domain.order_instructions import Step, shortage, steps_of
from domain.orders import Fulfilment, LockedOrder
from domain.orders import OrderStatus as S
from domain.queue import APPLIED, STALE, Outcome

ACCEPT, REJECT = AcceptOrder(order="H-1", prep_minutes=10), RejectOrder(order="H-1")
WORD = {word: OrderStatus(order="H-1", status=word) for word in OrderWord}
OURS, THEIRS, COLLECTED = Fulfilment.DELIVERY, Fulfilment.STORE_DELIVERY, Fulfilment.PICKUP
NO = None  # a failure with its reason


def order(status: S, fulfilment: Fulfilment = OURS) -> LockedOrder:
    rupees = Money(100, "INR")
    id = UUID(int=1)
    return LockedOrder(
        id, "H-1", id, id, id, id, status, 3, fulfilment, rupees, rupees, 10, "1234", 5, at_risk=False
    )  # fmt: skip


def became(told, status: S, fulfilment: Fulfilment = OURS):
    found = steps_of(told, order(status, fulfilment))
    if isinstance(found, Outcome):
        return NO if found.state is InstructionState.FAILED else found
    return [step.value for step in found]


TABLE = [
    (ACCEPT, S.PLACED, OURS, ["ACCEPT"]),
    (ACCEPT, S.ACCEPTED, OURS, ["BOOK"]),
    (ACCEPT, S.READY, OURS, ["BOOK"]),
    (ACCEPT, S.PICKED_UP, OURS, STALE),
    (ACCEPT, S.DELIVERED, OURS, STALE),
    (ACCEPT, S.PAYMENT_PENDING, OURS, NO),
    (ACCEPT, S.CANCELLED, OURS, NO),
    (ACCEPT, S.EXPIRED, OURS, NO),
    (REJECT, S.PLACED, OURS, ["REJECT"]),
    (REJECT, S.ACCEPTED, OURS, ["CANCEL"]),
    (REJECT, S.READY, THEIRS, ["CANCEL"]),
    (REJECT, S.REJECTED, OURS, APPLIED),
    (REJECT, S.CANCELLED, OURS, APPLIED),
    (REJECT, S.PICKED_UP, OURS, NO),
    (REJECT, S.DELIVERED, OURS, NO),
    (REJECT, S.PAYMENT_PENDING, OURS, NO),
    (WORD[OrderWord.CANCELLED], S.PLACED, OURS, ["REJECT"]),
    (WORD[OrderWord.CANCELLED], S.ACCEPTED, OURS, ["CANCEL"]),
    (WORD[OrderWord.READY], S.PLACED, OURS, ["ACCEPT", "READY"]),
    (WORD[OrderWord.READY], S.ACCEPTED, OURS, ["READY"]),
    (WORD[OrderWord.READY], S.READY, OURS, APPLIED),
    (WORD[OrderWord.READY], S.DELIVERED, OURS, STALE),
    (WORD[OrderWord.READY], S.UNDELIVERED, OURS, STALE),
    (WORD[OrderWord.READY], S.REJECTED, OURS, NO),
    (WORD[OrderWord.DISPATCHED], S.PLACED, OURS, ["ACCEPT", "NOTE"]),
    (WORD[OrderWord.DISPATCHED], S.READY, OURS, ["NOTE"]),
    (WORD[OrderWord.DISPATCHED], S.PICKED_UP, OURS, APPLIED),
    (WORD[OrderWord.DISPATCHED], S.DELIVERED, OURS, STALE),
    (WORD[OrderWord.DISPATCHED], S.PLACED, THEIRS, ["ACCEPT", "PICK_UP"]),
    (WORD[OrderWord.DISPATCHED], S.ACCEPTED, THEIRS, ["PICK_UP"]),
    (WORD[OrderWord.DISPATCHED], S.PICKED_UP, THEIRS, APPLIED),
    (WORD[OrderWord.DISPATCHED], S.READY, COLLECTED, NO),
    (WORD[OrderWord.DISPATCHED], S.DELIVERED, COLLECTED, STALE),
    (WORD[OrderWord.DELIVERED], S.READY, OURS, ["NOTE"]),
    (WORD[OrderWord.DELIVERED], S.PICKED_UP, OURS, ["NOTE"]),
    (WORD[OrderWord.DELIVERED], S.DELIVERED, OURS, APPLIED),
    (WORD[OrderWord.DELIVERED], S.PLACED, THEIRS, ["ACCEPT", "DELIVER"]),
    (WORD[OrderWord.DELIVERED], S.PICKED_UP, THEIRS, ["DELIVER"]),
    (WORD[OrderWord.DELIVERED], S.UNDELIVERED, THEIRS, NO),
    (WORD[OrderWord.DELIVERED], S.READY, COLLECTED, NO),
    (WORD[OrderWord.DELIVERED], S.DELIVERED, COLLECTED, APPLIED),
    (WORD[OrderWord.ITEM_SHORT], S.ACCEPTED, OURS, ["SHORT"]),
    (WORD[OrderWord.ITEM_CANCELLED], S.PICKED_UP, OURS, ["SHORT"]),
    (WORD[OrderWord.ITEM_SHORT], S.DELIVERED, OURS, STALE),
]


@pytest.mark.parametrize(
    ("told", "status", "fulfilment", "expected"),
    TABLE,
    ids=lambda one: getattr(one, "value", getattr(getattr(one, "status", one), "value", type(one).__name__)),
)
def test_what_a_word_does_depends_on_how_the_order_stands(told, status, fulfilment, expected):
    assert became(told, status, fulfilment) == expected


def test_every_word_has_an_answer_in_every_state():
    for told in (ACCEPT, REJECT, *WORD.values()):
        for status in S:
            for fulfilment in Fulfilment:
                found = steps_of(told, order(status, fulfilment))
                assert isinstance(found, Outcome) or all(isinstance(step, Step) for step in found)
                again = isinstance(found, Outcome) and found.state is InstructionState.FAILED
                assert not again or (found.kind is FailureKind.VALIDATION and found.message)


def test_an_order_keeps_its_order_whichever_store_it_is_said_of():
    said = {AcceptOrder(order=" h-1 ", store="A").entity, OrderStatus(order="H-1", store="B", status=OrderWord.READY).entity}
    assert said == {"ORDER:H-1"}


def test_a_shortage_is_told_in_the_bills_own_names():
    items = (OrderItem(id="TEA-250", ordered=2, found=1), OrderItem(id="X"))
    names = {"TEA-250": "Assam Tea"}
    short = OrderStatus(order="H-1", status=OrderWord.ITEM_SHORT, items=items, message="shelf empty")
    assert shortage(short, names) == "the store is short: 1 of 2 Assam Tea; X (shelf empty)"
    gone = OrderStatus(order="H-1", status=OrderWord.ITEM_CANCELLED, items=items[1:])
    assert shortage(gone, names) == "will not come: X"
    assert len(shortage(OrderStatus(order="H-1", status=OrderWord.ITEM_SHORT, message="x" * 900), {})) == 500


def test_what_an_order_was_turned_down_for_goes_off_once_each():
    off = sold_out("ST-1", ["81001", "81001", "81002"])
    assert [(one.store, one.id, one.kind, one.available) for one in off] == [
        ("ST-1", id, EntityKind.PRODUCT, False) for id in ("81001", "81002")
    ]
