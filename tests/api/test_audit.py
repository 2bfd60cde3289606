"""Who has changed how we are set up is told by the audit, whichever mutation it was."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.everybody import everybody
from tests.api.matrix import TYPES, Asker, Reach, load

MATRIX = load()
# What is no configuration, and why. A new mutation writes to the audit, unless somebody has thought about it and adds it here.
ELSEWHERE = {
    "people come and go: their sessions are rows of their own": "signUp signIn requestOtp verifyOtp refreshSession signOut",
    "a customer's own, and nobody else's": "saveAddress archiveAddress updateCartLines quoteCart placeOrder",
    "an order's events tell who did it": "cancelOrder acceptOrder rejectOrder markOrderReady handOverOrder",
    "a trip's events tell who did it": "acceptOffer declineOffer arriveAtStore pickUp arriveAtDoor deliver failDelivery"
    " dropDelivery retryDelivery returnDelivery finishReturn",
    "a rider at work": "setDuty reportPositions",
    "nothing is kept": "dryRunProfile",
}
TOLD_ELSEWHERE = {name for names in ELSEWHERE.values() for name in names.split()}
MUTATIONS = list(TYPES["Mutation"].fields)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asker(engine: AsyncEngine) -> AsyncIterator[Asker]:
    async with everybody(engine) as town:
        yield Asker(MATRIX, town)


def asked(name: str) -> list[Reach]:
    """Each way in which it is called with success, once."""
    found: dict[str, Reach] = {}
    for reach in MATRIX.reaches:
        if (reach.root, reach.steps[0].name) == ("Mutation", name) and "Refusal" not in interfaces(reach):
            found.setdefault(reach.steps[0].text, reach)
    return list(found.values())


def interfaces(reach: Reach) -> set[str]:
    return {one.name for one in getattr(reach.outcome[-1].type, "interfaces", ())}


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name not in TOLD_ELSEWHERE])
async def test_who_changes_what_is_set_up_is_told_by_the_audit(asker, name):
    tried = 0
    for reach in asked(name):
        for caller in [caller for caller in MATRIX.callers if reach.expected[caller] == "OK"]:
            tried += 1
            assert str(asker.town.callers[caller]) in {actor for actor, _ in await asker.audited(reach, caller)}, (
                f"{caller}: {reach.steps[0].text} is in no row of the audit; if it sets nothing up, say so in this file"
            )
    assert tried, "nobody is let through by tests/api/roles.toml"


def test_no_excuse_is_for_a_mutation_that_is_gone():
    assert TOLD_ELSEWHERE - set(MUTATIONS) == set()
    assert sum(len(names.split()) for names in ELSEWHERE.values()) == len(TOLD_ELSEWHERE)
