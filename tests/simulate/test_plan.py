"""Plans are decided by their wish alone."""

from dataclasses import replace

import pytest

from simulate.plan import NEWCOMERS, Buy, Dawdle, KillRedis, Provider, Say, Tell, Wish, plan
from tests.simulators.calls import Flaw

WISH = Wish(minutes=2, riders=10, orders_per_minute=30, pos=3, seed=7, faults=True)


def test_the_same_seed_is_the_same_plan():
    assert plan(WISH) == plan(WISH)
    assert plan(WISH).hash == plan(WISH).hash == "d517835b23db024f"


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"riders": 11}, {"pos": 2}, {"minutes": 1}, {"orders_per_minute": 20}, {"faults": False}]
)
def test_another_wish_is_another_plan(other: dict[str, int]):
    assert plan(replace(WISH, **other)).hash != plan(WISH).hash


def test_a_plan_holds_what_was_wished_in_order_and_in_time():
    made = plan(WISH)
    times = [intent.at_s for intent in made.intents]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= 120
    assert sum(isinstance(intent, Buy) for intent in made.intents) == 60
    assert len(made.paces_s) == 10
    assert {intent.speaker for intent in made.intents if isinstance(intent, Say)} == {0, 1}
    assert {intent.provider for intent in made.intents if isinstance(intent, Tell)} == {Provider.PETPOOJA}


def test_whoever_is_beyond_the_towns_own_two_is_a_newcomer_each_another_provider():
    def speakers(pos: int) -> tuple[int, set[Provider]]:
        made = plan(replace(WISH, pos=pos)).intents
        said = {intent.speaker for intent in made if isinstance(intent, Say)}
        return len(said), {intent.provider for intent in made if isinstance(intent, Tell)}

    assert [speakers(pos)[0] for pos in (0, 1, 2, 3, 17, 20)] == [0, 1, 2, 2, 2, 5]
    assert speakers(2)[1] == set()
    assert speakers(5)[1] == set(NEWCOMERS[:3])
    assert speakers(17)[1] == speakers(20)[1] == set(Provider)


def test_a_newcomer_counts_its_calls_and_every_second_is_flawed():
    told = sorted((intent.number, intent.flawed) for intent in plan(replace(WISH, minutes=0.1)).intents if isinstance(intent, Tell))
    assert told == [(number, number % 2 == 1) for number in range(8)]


def test_only_faults_bring_flaws_slow_readers_and_the_end_of_redis():
    calm = plan(replace(WISH, faults=False)).intents
    assert not [intent for intent in calm if isinstance(intent, Dawdle | KillRedis)]
    assert not [
        intent for intent in calm if (isinstance(intent, Say) and intent.flaw) or (isinstance(intent, Tell) and intent.flawed)
    ]


def test_even_a_short_run_with_faults_has_one_of_each():
    made = plan(replace(WISH, minutes=0.25)).intents
    flaws = {None, Flaw.DUPLICATE, Flaw.STALE, Flaw.FORGED, Flaw.UNKNOWN}
    assert {intent.flaw for intent in made if isinstance(intent, Say)} == flaws
    assert {type(intent) for intent in made} == {Buy, Say, Tell, Dawdle, KillRedis}


def test_a_till_tells_no_stale_news_since_it_tells_no_versions():
    said = [intent for intent in plan(WISH).intents if isinstance(intent, Say) and intent.flaw is Flaw.STALE]
    assert said
    assert {intent.provider for intent in said} == {Provider.WMS}


def test_more_tills_leave_the_orders_as_they_were():
    def buys(pos: int) -> list[Buy]:
        return [intent for intent in plan(replace(WISH, pos=pos)).intents if isinstance(intent, Buy)]

    assert buys(1) == buys(5)
