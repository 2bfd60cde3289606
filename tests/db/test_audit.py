"""The chains of the audit on the real database: written by many at once, never changed, and known to be whole or not."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import pytest
from sqlalchemy import event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import tables as t
from db.audit import walk
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain.audit import NOBODYS, Break
from domain.identity import Actor, ActorKind
from tests.conftest import LONG
from tests.figures import show

a, h = t.audit.c, t.audit_head.c
WHO = Actor(ActorKind.SUPPORT, new_id())
ROWS = 10_000 if LONG else 300
CHAINS = 5
SEED = 20261121


async def say(engine: AsyncEngine, *merchants: UUID | None, detail: str = "10 → 12") -> None:
    """One transaction's."""
    async with unit_of_work(engine) as uow:
        for merchant_id in merchants:
            await uow.audit.write(WHO, "set price", new_id(), merchant_id, detail)


async def broken(engine: AsyncEngine) -> list[Break]:
    return [found async for now in walk(engine) for found in now.breaks]


async def seqs(engine: AsyncEngine, chain: UUID) -> list[int]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(a.seq).where(a.chain == chain).order_by(a.at, a.seq))).scalars())


async def test_each_merchant_has_a_chain_and_what_is_nobodys_has_one(engine):
    tea, rice = new_id(), new_id()
    await say(engine, tea, None, tea)
    await say(engine, rice, tea, detail='ünï → ✓ \\ " \n')
    assert [await seqs(engine, chain) for chain in (tea, rice, NOBODYS)] == [[1, 2, 3], [1], [1]]
    async with engine.connect() as connection:
        ends = select(h.chain, h.seq).where(h.chain.in_([tea, rice, NOBODYS]))
        assert {tuple(row) for row in await connection.execute(ends)} == {(tea, 3), (rice, 1), (NOBODYS, 1)}
    assert await broken(engine) == []


async def test_what_was_given_up_leaves_no_hole(engine):
    tea = new_id()
    await say(engine, tea)
    with suppress(ZeroDivisionError):
        async with unit_of_work(engine) as uow:
            await uow.audit.write(WHO, "set price", new_id(), tea, "never")
            raise ZeroDivisionError
    await say(engine, tea)
    assert await seqs(engine, tea) == [1, 2]
    assert await broken(engine) == []


async def test_many_who_write_several_chains_at_once_wait_for_each_other_and_never_in_a_ring(engine):
    chains: list[UUID | None] = [None, *(new_id() for _ in range(3))]
    dice = random.Random(SEED)
    await asyncio.gather(*(say(engine, *dice.sample(chains, 3)) for _ in range(40)))
    for chain in chains:
        told = await seqs(engine, chain or NOBODYS)  # by the database's clock, which goes as the numbers go
        assert told == list(range(1, len(told) + 1))
    assert await broken(engine) == []


async def test_who_has_nothing_to_say_asks_nothing(engine):
    asked: list[str] = []

    def heard(*told: object) -> None:
        asked.append(str(told[2]))

    event.listen(engine.sync_engine, "before_cursor_execute", heard)
    try:
        async with unit_of_work(engine):
            pass
        assert asked == []
        await say(engine, None, new_id())
        assert len(asked) == 2  # however much there is to say
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", heard)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET detail = 'nothing happened'",
        "DELETE FROM audit WHERE seq = 1",
        "TRUNCATE audit",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "UPDATE audit_head SET seq = seq - 1",
        "UPDATE audit_head SET hash = ''",
        "UPDATE audit_head SET chain = gen_random_uuid()",
    ],
)
async def test_nothing_that_was_said_can_be_taken_back(engine, statement: str):
    await say(engine, None)
    with pytest.raises(DBAPIError, match="only ever added to"):
        async with engine.begin() as connection:
            await connection.exec_driver_sql(statement)


# ---------------------------------------------------------------- by who may switch the triggers off


@asynccontextmanager
async def forging(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.begin() as connection:
        for table in ("audit", "audit_head"):
            await connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield connection
        for table in ("audit", "audit_head"):
            await connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")


COPIED = [column for column in t.audit.columns if column is not a.chain]


@asynccontextmanager
async def put_back(engine: AsyncEngine) -> AsyncIterator[None]:
    """Whatever is done to the chains meanwhile, afterwards they are as they were."""
    names = ", ".join(column.name for column in COPIED)
    async with engine.begin() as connection:
        for table in ("audit", "audit_head"):
            await connection.exec_driver_sql(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    yield
    async with forging(engine) as connection:
        await connection.exec_driver_sql("TRUNCATE audit, audit_head")
        await connection.exec_driver_sql(f"INSERT INTO audit ({names}) SELECT {names} FROM kept_audit")
        await connection.exec_driver_sql("INSERT INTO audit_head SELECT * FROM kept_audit_head")
        await connection.exec_driver_sql("DROP TABLE kept_audit, kept_audit_head")


Place = tuple[UUID, int]


@pytest.fixture(scope="module")
def chains() -> list[UUID]:
    return sorted([NOBODYS, *(new_id() for _ in range(CHAINS - 1))])


async def filled(engine: AsyncEngine, chains: Sequence[UUID]) -> list[Place]:
    """Chains of ROWS entries together, each place of them."""
    each = ROWS // len(chains)
    for _ in range(each // 20):
        await say(engine, *(chain if chain != NOBODYS else None for chain in chains for _ in range(20)))
    async with engine.connect() as connection:
        return [(row.chain, row.seq) for row in await connection.execute(select(a.chain, a.seq).where(a.chain.in_(chains)))]


def at(place: Place):
    return (a.chain == place[0]) & (a.seq == place[1])


CHANGES: Sequence[Callable[[Place], object]] = (
    lambda place: update(t.audit).where(at(place)).values(at=a.at + text("interval '1 microsecond'")),
    lambda place: update(t.audit).where(at(place)).values(actor="support:somebody"),
    lambda place: update(t.audit).where(at(place)).values(action="ban user"),
    lambda place: update(t.audit).where(at(place)).values(subject=new_id()),
    lambda place: update(t.audit).where(at(place)).values(detail=a.detail + " "),
    lambda place: update(t.audit).where(at(place)).values(merchant_id=new_id()),
    lambda place: update(t.audit).where(at(place)).values(id=new_id()),
    lambda place: update(t.audit).where(at(place)).values(hash=func.sha256(a.hash)),
    lambda place: update(t.audit).where(at(place)).values(seq=a.seq + 1_000_000),
)


def rounds(places: Iterable[Place], apart: int) -> list[list[Place]]:
    """All of them, in rounds in which no two are neighbours: each is found by itself."""
    every: list[list[Place]] = [[] for _ in range(apart)]
    for place in places:
        every[place[1] % apart].append(place)
    return every


async def test_any_entry_that_was_changed_deleted_or_put_elsewhere_is_found(engine, chains):
    places = await filled(engine, chains)
    assert len(places) >= ROWS * 0.9
    assert await broken(engine) == []
    dice = random.Random(SEED)
    tried, found = Counter[str](), Counter[str]()

    async def looked(kind: str, touched: Sequence[Place]) -> None:
        told = {(one.chain, one.seq) for one in await broken(engine)}
        tried[kind] += len(touched)
        found[kind] += len(told.intersection(touched))

    for some in rounds(places, 3):
        async with put_back(engine):
            async with forging(engine) as connection:
                for place in some:
                    await connection.execute(dice.choice(CHANGES)(place))
            await looked("changed", some)
        async with put_back(engine):
            async with forging(engine) as connection:
                await connection.execute(t.audit.delete().where(func.row(a.chain, a.seq).in_(some)))
            await looked("deleted", some)
    known = set(places)
    for apart in (1, 7):  # neighbours, and others
        pairs = [(chain, seq) for chain, seq in places if seq % (2 * apart) < apart and (chain, seq + apart) in known]
        async with put_back(engine):
            async with forging(engine) as connection:
                for chain, seq in pairs:
                    await swap(connection, chain, seq, seq + apart)
            await looked("reordered", [(chain, at_) for chain, seq in pairs for at_ in (seq, seq + apart)])
    assert await broken(engine) == []  # put back as it was
    show("audit", rows=len(places), chains=len(chains), seed=SEED, tried=dict(tried), found=dict(found))
    assert found == tried
    assert min(tried.values()) >= ROWS * 0.8


async def swap(connection: AsyncConnection, chain: UUID, one: int, other: int) -> None:
    for seq, becomes in ((one, -1), (other, one), (-1, other)):
        await connection.execute(update(t.audit).where(at((chain, seq))).values(seq=becomes))


async def test_a_chain_that_was_cut_or_grew_by_another_hand_is_found_by_its_head(engine, chains):
    chain = chains[-1]
    if not await seqs(engine, chain):
        await say(engine, *([chain] * 5))
    last = (await seqs(engine, chain))[-1]
    where = f"chain = '{chain}'"

    async def after(*statements: str) -> list[tuple[UUID, int]]:
        async with put_back(engine):
            async with forging(engine) as connection:
                for statement in statements:
                    await connection.exec_driver_sql(statement)
            return [(one.chain, one.seq) for one in await broken(engine)]

    assert await after(f"DELETE FROM audit WHERE {where} AND seq > {last - 2}") == [(chain, last - 1)]
    assert await after(f"DELETE FROM audit WHERE {where}") == [(chain, 1)]
    assert await after(f"DELETE FROM audit_head WHERE {where}") == [(chain, last)]
    assert await after(f"UPDATE audit_head SET hash = '' WHERE {where}") == [(chain, last)]
    assert await after(f"UPDATE audit_head SET seq = seq - 1 WHERE {where}") == [(chain, last)]
    async with put_back(engine):
        async with forging(engine) as connection:
            forged = {"actor": "clock", "action": "a", "subject": new_id(), "merchant_id": chain, "detail": "", "hash": b""}
            await connection.execute(insert(t.audit).values(id=new_id(), seq=last + 1, **forged))
        assert {(one.chain, one.seq) for one in await broken(engine)} == {(chain, last + 1)}
    assert await broken(engine) == []


async def test_what_is_written_while_it_is_walked_is_no_break(engine):
    stop = asyncio.Event()
    tea = new_id()

    async def write_on() -> None:
        while not stop.is_set():
            await say(engine, tea, None)

    writing = asyncio.create_task(write_on())
    try:
        for _ in range(5):
            assert await broken(engine) == []
    finally:
        stop.set()
        await writing
