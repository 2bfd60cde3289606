"""Who gets what: tests/api/roles.toml, cell by cell, on the real schema and database. And each guard is there for somebody:
without it, some cell changes.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.everybody import everybody
from tests.api.guards import GUARDS, Switches, comparers, install
from tests.api.matrix import DOOR, Asker, Cells, Reach, gaps, load
from tests.figures import show

MATRIX = load()
CHECKED = Counter(cells=0, wrong=0)
ALONE = [guard for guard in GUARDS if guard not in MATRIX.unfelt and guard not in MATRIX.doubled]


@dataclass
class Feeler:
    """All cells as they are, each asked once, and which guards were asked for each."""

    asker: Asker
    switches: Switches
    cells: dict[tuple[str, str], Cells] = field(default_factory=dict)
    asked: dict[str, list[tuple[Reach, str]]] = field(default_factory=dict)
    removed: Counter[str] = field(default_factory=Counter)  # guards, by whether they were felt
    again: int = 0  # reaches asked once more

    async def ask(self, reach: Reach, caller: str) -> Cells:
        if (reach.name, caller) not in self.cells:
            self.switches.asked = set()
            self.cells[reach.name, caller] = await self.asker.ask(reach, caller)
            for guard in self.switches.asked:
                self.asked.setdefault(guard, []).append((reach, caller))
        return self.cells[reach.name, caller]

    async def felt(self, guard: str, besides: Collection[str] = ()) -> str | None:
        """The first cell that changes without the guard, where these others are gone already."""
        for reach in MATRIX.reaches:
            for caller in MATRIX.callers:
                await self.ask(reach, caller)
        for reach, caller in sorted(self._all(*besides, guard), key=self._is_whole):
            before = self.cells[reach.name, caller]
            if besides:
                with self.switches.without(besides):
                    before = await self.asker.ask(reach, caller)
            with self.switches.without([guard, *besides]):
                after = await self.asker.ask(reach, caller)
            self.again += 1
            if after != before:
                self.removed["felt"] += 1
                return f"{reach.name}: {caller}: {before} became {after}"
        self.removed["unfelt"] += 1
        return None

    def _is_whole(self, one: tuple[Reach, str]) -> bool:
        """Who is shown everything has nothing to gain: asked last."""
        reach, caller = one
        return set(self.cells[reach.name, caller].values()) == {"OK"}

    def _all(self, *guards: str) -> Iterator[tuple[Reach, str]]:
        """Without one guard another may be asked where it was not before."""
        seen = set()
        for guard in guards:
            for reach, caller in self.asked.get(guard, ()):
                if (reach.name, caller) not in seen:
                    seen.add((reach.name, caller))
                    yield reach, caller


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def feeler(engine: AsyncEngine) -> AsyncIterator[Feeler]:
    async with everybody(engine) as town:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("subscriptions.feeds.SETTLED_S", 0)  # nobody gives events their place in the log here
            switches = Switches()
            install(switches, town, patch)
            feeler = Feeler(Asker(MATRIX, town), switches)
            yield feeler
    show("role matrix", callers=len(MATRIX.callers), reaches=len(MATRIX.reaches), **CHECKED)
    show("guards taken away", guards=len(GUARDS), removed=feeler.removed, asked_again=feeler.again)


def test_nothing_is_left_out_of_the_matrix():
    lines = list(gaps(MATRIX))
    assert not lines, "\n" + "\n".join(lines)


def test_what_is_left_out_is_named():
    fields = {**MATRIX.fields, "Order": {name: row for name, row in MATRIX.fields["Order"].items() if name != "address"}}
    reaches = [reach for reach in MATRIX.reaches if "setStock" not in reach.name and " > payment" not in reach.name]
    lines = list(gaps(replace(MATRIX, fields=fields, reaches=reaches, public=MATRIX.public - {"Store"})))
    assert {
        "Order.address: no row",
        "Mutation.setStock: no reach",
        "Payment: no reach",
        "Purchase.payment: no reach goes through it",
        "Store.slug: no row",
        "Order.store: no reach goes through it",
    } <= set(lines)


@pytest.mark.parametrize("reach", MATRIX.reaches, ids=lambda reach: reach.name)
async def test_everybody_gets_what_is_theirs(feeler: Feeler, reach):
    lines = []
    for caller in MATRIX.callers:
        wanted, found = MATRIX.expected(reach, caller), await feeler.ask(reach, caller)
        CHECKED["cells"] += len(wanted.keys() | found.keys())
        for name in wanted.keys() | found.keys():
            if wanted.get(name) != found.get(name):
                at = f"{reach.view}.{name}" if name != DOOR else "there"
                lines.append(f"{caller}: {at} is {found.get(name)}, not {wanted.get(name)}")
    CHECKED["wrong"] += len(lines)
    assert not lines, "\n" + "\n".join(sorted(lines))


# ---------------------------------------------------------------- without each guard


@pytest.mark.parametrize("guard", ALONE)
async def test_without_it_somebody_gets_more(feeler: Feeler, guard):
    assert await feeler.felt(guard), f"no cell of roles.toml feels it; it was asked for {len(feeler.asked.get(guard, ()))}"


@pytest.mark.parametrize("guard", MATRIX.doubled)
async def test_a_second_lock_holds_where_the_first_is_gone(feeler: Feeler, guard):
    assert await feeler.felt(guard, MATRIX.doubled[guard])


@pytest.mark.long
@pytest.mark.parametrize("guard", [*MATRIX.unfelt, *MATRIX.doubled])
async def test_what_is_said_to_be_unfelt_is(feeler: Feeler, guard):
    assert await feeler.felt(guard) is None


def test_whatever_compares_the_actor_is_known():
    known = {guard.partition(" asks ")[0] for guard in GUARDS} | MATRIX.unfelt.keys()
    assert [one for one in comparers() if one not in known] == []


def test_no_excuse_is_for_what_is_gone():
    assert [name for name in {**MATRIX.unfelt, **MATRIX.doubled} if name not in GUARDS] == []
    assert [one for others in MATRIX.doubled.values() for one in others if one not in GUARDS] == []
