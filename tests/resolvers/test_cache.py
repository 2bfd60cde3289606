"""When an answer is old without anything happening."""

from datetime import UTC, datetime, timedelta

from domain.merchants import Hours, StoreStatus
from resolvers.cache import Tags
from tests.domain.test_merchants import store

MONDAY = datetime(2026, 7, 6, tzinfo=UTC)
NOON, EVENING = MONDAY + timedelta(hours=12), MONDAY + timedelta(hours=18)


def test_it_ends_with_the_first_moment_at_which_any_of_its_stores_may_be_otherwise():
    by_day = [Hours(0, 9 * 60, 18 * 60)]
    paused = store(NOON, hours=by_day, said=StoreStatus.PAUSED)  # is closed in the evening, though it took no orders before
    tags = Tags()
    tags.stores([paused])
    assert tags.until == EVENING
    tags.stores([store(NOON), store(NOON, archived=True)])
    assert tags.until == EVENING
    tags.stores([store(NOON, hours=by_day, said=StoreStatus.BUSY, until=NOON + timedelta(hours=1))])
    assert tags.until == NOON + timedelta(hours=1)
