"""What there is to tell a till, for how long, and when there is nothing to tell any more."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.access import Reply
from domain.delivery import DeliveryMoved, DeliveryStatus
from domain.identity import ActorKind
from domain.money import Money
from domain.orders import ACCEPT_WITHIN, Fulfilment, OrderMoved, OrderStatus, is_number
from domain.outbound import NotNow, NotUnderstood, Order, OrderNews, Place, Rider, not_taken
from domain.payments import OrderNow
from domain.places import Point
from domain.telling import LONGER_PAUSE, PAUSE, Telling, backoff, moot, news_of, pause, try_for

N, S, D = OrderNews, OrderStatus, DeliveryStatus
ID, NOW = UUID(int=1), datetime(2026, 1, 5, tzinfo=UTC)
RAVI = Rider("Ravi", None)


def order(status: OrderStatus, rider: Rider | None = None) -> Order:
    place = Place("ST-1", "Amrit", "Pune", Point(0, 0), "Asia/Kolkata")
    return Order(
        ID, "MK7X2M9A", status, Fulfilment.DELIVERY, NOW, None, 20, Money(1, "INR"), True, (), "Riya", None, None, place, (), rider
    )  # fmt: skip


def telling(news: OrderNews, *, has: bool = True, may: bool | None = None) -> Telling:
    return Telling(ID, ID, news, 1, False, None, has_order=has, may_have_order=has if may is None else may)


def moved(status: OrderStatus) -> OrderMoved:
    return OrderMoved(ID, 2, status, NOW, ActorKind.MERCHANT, ID, ID, ID)


def trip(status: DeliveryStatus) -> DeliveryMoved:
    return DeliveryMoved(ID, 4, status, NOW, ActorKind.RIDER, OrderNow(UUID(int=2), "READY", 3), ID, ID, ID, ID)


def test_every_state_that_a_till_can_understand_is_news():
    assert {status: news for status in S if (news := news_of(moved(status), None))} == {
        S.PLACED: (ID, N.PLACED, 0),
        S.ACCEPTED: (ID, N.ACCEPTED, 0),
        S.READY: (ID, N.READY, 0),
        S.PICKED_UP: (ID, N.LEFT, 0),
        S.DELIVERED: (ID, N.DELIVERED, 0),
        S.REJECTED: (ID, N.CANCELLED, 0),
        S.CANCELLED: (ID, N.CANCELLED, 0),
        S.EXPIRED: (ID, N.CANCELLED, 0),
    }
    assert {status: news for status in D if (news := news_of(trip(status), None))} == {
        D.ASSIGNED: (UUID(int=2), N.RIDER_ASSIGNED, 4),
        D.AT_STORE: (UUID(int=2), N.RIDER_AT_STORE, 4),
        D.PICKED_UP: (UUID(int=2), N.RIDER_LEFT, 4),
        D.DELIVERED: (UUID(int=2), N.RIDER_DELIVERED, 4),
    }


@pytest.mark.parametrize("status", S)
def test_a_note_to_an_order_is_no_news_to_a_till(status: OrderStatus):
    assert news_of(moved(status), status) is None


@pytest.mark.parametrize("status", S)
def test_an_order_is_told_for_as_long_as_it_may_be_made(status: OrderStatus):
    why = moot(telling(N.PLACED, has=False), order(status))
    assert (why is None) is (status in (S.PAYMENT_PENDING, S.PLACED, S.ACCEPTED, S.READY))


def test_a_till_that_may_have_an_order_is_told_that_it_will_not_be():
    assert moot(telling(N.CANCELLED), order(S.CANCELLED)) is None
    assert moot(telling(N.CANCELLED, has=False, may=True), order(S.EXPIRED)) is None
    assert moot(telling(N.CANCELLED, has=False, may=False), order(S.CANCELLED)) == "the till was not told of the order"


def test_of_a_rider_a_till_is_told_while_there_is_one_and_it_has_the_order():
    assert moot(telling(N.RIDER_ASSIGNED), order(S.ACCEPTED, RAVI)) is None
    assert moot(telling(N.RIDER_ASSIGNED), order(S.ACCEPTED)) == "nobody brings it any more"
    assert moot(telling(N.RIDER_ASSIGNED), order(S.CANCELLED, RAVI)) == "the order is CANCELLED by now"
    assert moot(telling(N.RIDER_ASSIGNED, has=False, may=True), order(S.ACCEPTED, RAVI)) is not None
    assert moot(telling(N.RIDER_DELIVERED), order(S.DELIVERED, RAVI)) is None


def test_people_hear_of_an_order_that_cannot_be_told_while_they_can_still_accept_it():
    assert try_for(N.PLACED) < ACCEPT_WITHIN
    assert try_for(N.RIDER_LEFT) < try_for(N.CANCELLED)


def test_the_same_news_is_tried_later_and_later_and_never_sooner_than_asked():
    seconds = [backoff(attempts, None, 1.0).total_seconds() for attempts in (1, 2, 3, 4, 5, 6, 90)]
    assert seconds == [2, 4, 8, 16, 32, 60, 60]
    assert backoff(1, None, 0.0) == timedelta(seconds=1)
    assert backoff(1, 30, 0.0) == timedelta(seconds=30)
    assert backoff(1, 10**9, 0.0) == LONGER_PAUSE


def test_who_is_broken_is_left_alone_and_longer_where_that_does_not_help():
    assert [pause(failed, None) for failed in (0, 4, 5, 9, 10, 99)] == [timedelta()] * 2 + [PAUSE] * 2 + [LONGER_PAUSE] * 2
    assert pause(1, 30) == timedelta(seconds=30)
    assert pause(5, 5) == PAUSE


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (200, None),
        (204, None),
        (301, NotUnderstood),
        (400, NotUnderstood),
        (401, NotUnderstood),
        (408, NotNow),
        (429, NotNow),
        (503, NotNow),
    ],
)
def test_a_status_says_whether_to_ask_again(status: int, what: type | None):
    told = not_taken(Reply(status, {}, b""))
    assert told is None if what is None else isinstance(told, what)


def test_a_number_of_ours_is_told_from_a_tills():
    assert is_number("MK7X2M9A")
    assert not any(map(is_number, ("31", "POS-31", "MK-100045", "MK7X2M9", "MK7X2M9A2", "MK7X2M90", "mk7x2m9a")))
