from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import DeliveryStatus
from domain.places import Point, metres_between
from domain.positions import BATCH, Position, Sighting, Standing, Trip, check_batch, coarse, eta, next_report_s, plausible
from domain.refusals import InvalidInput, Refused

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE, STORE, DOOR = Point(12.97, 77.59), Point(12.9716, 77.5946), Point(12.99, 77.62)


def seen(seq: int, at_s: float, *, device: str = "phone", point: Point = HERE, accuracy_m: int | None = 10) -> Sighting:
    return Sighting(device, seq, point, NOW + timedelta(seconds=at_s), accuracy_m)


def test_they_are_ordered_by_time_and_within_a_moment_by_number():
    told = [seen(3, -1), seen(1, -9), seen(5, -4), seen(4, -4)]
    assert [one.seq for one in plausible(told, NOW)] == [1, 4, 5, 3]


def test_a_repeat_within_one_device_counts_once():
    told = [seen(1, -2), seen(1, -2), seen(1, -2, device="watch")]
    assert [(one.device_id, one.seq) for one in plausible(told, NOW)] == [("phone", 1), ("watch", 1)]


@pytest.mark.parametrize(
    "wrong",
    [
        seen(1, 31),
        seen(1, -301),
        seen(1, 0, accuracy_m=501),
        seen(1, 0, accuracy_m=-1),
        seen(1, 0, point=Point(0, 0)),
        seen(1, 0, point=Point(91, 0)),
        seen(1, 0, point=Point(0, 181)),
        seen(1, 0, point=Point(float("nan"), 1)),
    ],
)
def test_what_cannot_be_is_left_out_and_costs_the_others_nothing(wrong):
    assert plausible([seen(2, -1), wrong], NOW) == [seen(2, -1)]


def test_the_edges_of_time_are_inside():
    assert len(plausible([seen(1, 30), seen(2, -300)], NOW)) == 2


@pytest.mark.parametrize(
    "wrong",
    [[seen(1, 0)] * (BATCH + 1), [seen(1, 0, device="")], [seen(1, 0, device="x" * 101)], [seen(-1, 0)]],
)
def test_a_batch_that_is_no_batch_is_refused(wrong):
    with pytest.raises(Refused) as no:
        check_batch(wrong)
    assert isinstance(no.value.refusal, InvalidInput)


def trip(status: DeliveryStatus) -> Trip:
    return Trip(status, STORE, DOOR, NOW + timedelta(minutes=20))


def test_the_server_wants_to_hear_more_the_closer_it_gets():
    to_door = Standing(NOW, True, [trip(DeliveryStatus.PICKED_UP)])
    waits = [
        next_report_s(to_door, DOOR),
        next_report_s(to_door, STORE),
        next_report_s(Standing(NOW, True, []), HERE),
        next_report_s(Standing(NOW, False, []), None),
    ]
    assert waits == sorted(waits)
    assert len(set(waits)) == 4


def test_before_pick_up_the_store_is_what_a_rider_is_close_to():
    to_store = Standing(NOW, True, [trip(DeliveryStatus.ASSIGNED)])
    assert next_report_s(to_store, STORE) < next_report_s(to_store, DOOR)


@given(st.floats(-80, 80), st.floats(-179, 179))
def test_a_coarse_point_is_near_and_tells_no_more_than_its_cell(lat, lng):
    point = Point(lat, lng)
    rough = coarse(point)
    assert metres_between(point, rough) <= 400
    assert coarse(rough) == rough
    assert coarse(Point(rough.lat + 0.0024, rough.lng - 0.0024)) == rough


def test_the_time_of_arrival_is_the_promise_until_the_goods_are_on_their_way():

    at = Position(UUID(int=1), STORE, None, NOW)
    assert eta(trip(DeliveryStatus.ASSIGNED), at) == NOW + timedelta(minutes=20)
    near = eta(trip(DeliveryStatus.PICKED_UP), Position(at.rider_id, DOOR, None, NOW))
    far = eta(trip(DeliveryStatus.PICKED_UP), at)
    assert NOW < near < far
