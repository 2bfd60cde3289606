"""Who gets what: tests/api/roles.toml, cell by cell, on the real schema and database."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.everybody import everybody
from tests.api.matrix import DOOR, Asker, gaps, load
from tests.figures import show

MATRIX = load()
CHECKED = Counter(cells=0, wrong=0)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asker(engine: AsyncEngine) -> AsyncIterator[Asker]:
    async with everybody(engine) as town:
        yield Asker(MATRIX, town)
    show("role matrix", callers=len(MATRIX.callers), reaches=len(MATRIX.reaches), **CHECKED)


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
async def test_everybody_gets_what_is_theirs(asker: Asker, reach):
    lines = []
    for caller in MATRIX.callers:
        wanted, found = MATRIX.expected(reach, caller), await asker.ask(reach, caller)
        CHECKED["cells"] += len(wanted.keys() | found.keys())
        for name in wanted.keys() | found.keys():
            if wanted.get(name) != found.get(name):
                at = f"{reach.view}.{name}" if name != DOOR else "there"
                lines.append(f"{caller}: {at} is {found.get(name)}, not {wanted.get(name)}")
    CHECKED["wrong"] += len(lines)
    assert not lines, "\n" + "\n".join(sorted(lines))
