"""Each guard is there for somebody: without it, some cell of the role matrix changes."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.everybody import everybody
from tests.api.guards import GUARDS, Switches, comparers, install
from tests.api.matrix import Asker, Cells, Reach, load
from tests.figures import show

MATRIX = load()
ALONE = [guard for guard in GUARDS if guard not in MATRIX.unfelt and guard not in MATRIX.doubled]


@dataclass
class Feeler:
    """All cells as they are, and which guards were asked for each."""

    asker: Asker
    switches: Switches
    cells: dict[tuple[str, str], Cells] = field(default_factory=dict)
    asked: dict[str, list[tuple[Reach, str]]] = field(default_factory=dict)
    removed: Counter[str] = field(default_factory=Counter)  # guards, by whether they were felt
    again: int = 0  # reaches asked once more

    async def begin(self) -> None:
        for reach in MATRIX.reaches:
            for caller in MATRIX.callers:
                self.switches.asked = set()
                self.cells[reach.name, caller] = await self.asker.ask(reach, caller)
                for guard in self.switches.asked:
                    self.asked.setdefault(guard, []).append((reach, caller))

    async def felt(self, guard: str, besides: Collection[str] = ()) -> str | None:
        """The first cell that changes without the guard, where these others are gone already."""
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
            switches = Switches()
            install(switches, town, patch)
            feeler = Feeler(Asker(MATRIX, town), switches)
            await feeler.begin()
            yield feeler
    cells = sum(map(len, feeler.cells.values()))
    show("guards taken away", guards=len(GUARDS), cells=cells, removed=feeler.removed, asked_again=feeler.again)


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
