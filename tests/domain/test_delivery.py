import pytest

from domain.delivery import LIVE, MOVES, DeliveryStatus, WrongDeliveryState, check_move, ride
from domain.identity import ActorKind
from domain.refusals import Refused

D = DeliveryStatus
RIDER, MERCHANT, CUSTOMER, SUPPORT = ActorKind.RIDER, ActorKind.MERCHANT, ActorKind.CUSTOMER, ActorKind.SUPPORT


@pytest.mark.parametrize("ended", [status for status in D if status not in LIVE])
def test_what_has_ended_stays_as_it_is(ended):
    assert not [end for start, end in MOVES if start is ended]


@pytest.mark.parametrize("live", LIVE)
def test_every_live_state_leads_on(live):
    assert [end for start, end in MOVES if start is live]


def test_every_state_can_be_reached():
    reached = {D.SEARCHING}
    while more := {end for start, end in MOVES if start in reached} - reached:
        reached |= more
    assert reached == set(D)


@pytest.mark.parametrize("start", [D.PICKED_UP, D.AT_DOOR, D.FAILED, D.RETURNING])
def test_once_picked_up_it_is_neither_dropped_nor_cancelled(start):
    for end in (D.SEARCHING, D.CANCELLED):
        for who in ActorKind:
            with pytest.raises(Refused) as no:
                check_move(start, end, who)
            assert isinstance(no.value.refusal, WrongDeliveryState)
            assert no.value.refusal.status is start


@pytest.mark.parametrize("who", [MERCHANT, CUSTOMER, None])
def test_only_who_has_the_goods_says_where_they_are(who):
    for start, end in [(D.ASSIGNED, D.PICKED_UP), (D.PICKED_UP, D.AT_DOOR), (D.AT_DOOR, D.DELIVERED), (D.AT_DOOR, D.FAILED)]:
        check_move(start, end, RIDER)
        with pytest.raises(Refused):
            check_move(start, end, who)


def test_the_stops_may_be_skipped():
    check_move(D.ASSIGNED, D.PICKED_UP, RIDER)
    check_move(D.PICKED_UP, D.DELIVERED, RIDER)


def test_what_failed_is_tried_again_or_brought_back():
    for end in (D.PICKED_UP, D.RETURNING):
        check_move(D.FAILED, end, RIDER)
        check_move(D.FAILED, end, SUPPORT)
    with pytest.raises(Refused):
        check_move(D.FAILED, D.DELIVERED, RIDER)


def test_a_longer_way_takes_longer():
    assert ride(0) < ride(500) < ride(5_000)
