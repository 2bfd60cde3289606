"""What the simulated systems take for a promise is what the doors answer: each of them, with each of its flaws."""

import random

from simulate.newcomers import CALLERS
from tests.workers.test_raw_store import Town
from tests.world import shop


async def test_each_system_is_answered_as_it_expects_whatever_is_wrong_with_what_it_sends(engine):
    town, chance = Town(engine, [await shop(engine)], [], {}), random.Random(67)
    for provider, kind in CALLERS.items():
        await town.connect(provider, kind, town.stores[0])
    asked = 0
    for speaker in town.speakers:
        for flaw in speaker.caller.flaws:
            asked += 1
            await speaker.speak(asked, chance, flaw)
    assert asked > 4 * len(CALLERS)
