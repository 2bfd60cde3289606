"""What is told of a store's opening, and when it is to be told again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.merchants import DAY, LOOK_EVERY, Hours, HoursException, Store, StoreStatus
from domain.places import Point

ZONES = ["Asia/Kolkata", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "America/Havana"]
NEAR = [
    datetime(2026, 3, 29, 1),
    datetime(2026, 10, 25, 1),
    datetime(2026, 3, 8, 7),
    datetime(2026, 11, 1, 6),
    datetime(2026, 7, 1),
]
spans = st.tuples(st.integers(0, DAY - 1), st.integers(1, DAY)).map(lambda span: (span[0], span[0] + span[1]))
moments = st.tuples(st.sampled_from(NEAR), st.integers(-180, 180)).map(
    lambda told: told[0].replace(tzinfo=UTC) + timedelta(minutes=told[1] * 15, seconds=7)
)


def store(read_at: datetime, **more: object) -> Store:
    plain = Store(
        id=UUID(int=1), merchant_id=UUID(int=2), slug="s", name="S", city="C", location=Point(12.9, 77.6), time_zone="UTC",
        said=StoreStatus.OPEN, until=None, reason=None, prep_minutes=20, radius_m=5000, delivery_minor=0, packaging_minor=0,
        minimum_minor=0, currency="INR", counts_hidden=False, self_delivery=False, cash_allowed=True, archived=False, version=1,
        hours=(), exceptions=(), read_at=read_at,
    )  # fmt: skip
    return replace(plain, **more)


@given(
    week=st.lists(st.tuples(st.integers(0, 6), spans), max_size=10, unique_by=lambda one: (one[0], one[1][0])),
    days=st.lists(st.tuples(st.integers(-2, 3), st.none() | spans), max_size=3),
    zone=st.sampled_from(ZONES),
    now=moments,
    said=st.sampled_from(StoreStatus),
    until_min=st.none() | st.integers(1, 3 * DAY),
    part=st.floats(0, 1, exclude_max=True),
)
def test_nothing_that_is_told_changes_before_the_moment_to_look_again(week, days, zone, now, said, until_min, part):
    then = store(
        now,
        hours=[Hours(weekday, *span) for weekday, span in week],
        exceptions=[HoursException(now.date() + timedelta(days=away), *(span or (None, None))) for away, span in days],
        time_zone=zone,
        said=said,
        until=None if until_min is None or said is StoreStatus.OPEN else now + timedelta(minutes=until_min),
    )
    assert now < then.look_at <= now + LOOK_EVERY
    # A part close to one is rounded to the moment itself.
    before = replace(then, read_at=min(now + (then.look_at - now) * part, then.look_at - timedelta(microseconds=1)))
    assert before.state.says_as(then.state)
    flip = then.closes_at or (None if then.until else then.opens_at)
    if flip is not None and then.look_at == flip:
        assert replace(then, read_at=flip).is_open != then.is_open


def test_a_pause_says_until_when_within_its_hours_alone():
    now = datetime(2026, 7, 1, 10, tzinfo=UTC)
    paused = store(now, said=StoreStatus.PAUSED, until=now + timedelta(hours=1))
    assert (paused.state.status, paused.state.until, paused.look_at) == (StoreStatus.PAUSED, paused.until, paused.until)
    shut = replace(paused, hours=[Hours(2, 0, 60)])
    assert (shut.state.status, shut.state.until, shut.look_at) == (StoreStatus.CLOSED, None, paused.until)
    over = replace(paused, read_at=paused.until)
    assert (over.state.status, over.state.until) == (StoreStatus.OPEN, None)


def test_an_archived_store_is_closed_for_good():
    gone = store(datetime(2026, 7, 1, 10, tzinfo=UTC), archived=True)
    assert (gone.state.status, gone.state.opens_at, gone.look_at) == (StoreStatus.CLOSED, None, None)
