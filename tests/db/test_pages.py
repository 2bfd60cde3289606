"""Keyset pages: every row once, whatever the sort, and no cursor that can break the server."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, Uuid, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db.pages import By, Page, cursor, page, total
from db.reads import Reads
from domain.refusals import InvalidInput, Refused

rows = Table(
    "page_rows",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("name", Text),
    Column("size", Integer),
    Column("at", DateTime(timezone=True)),
)
SORTS = {
    "by name": [By(rows.c.name), By(rows.c.id)],
    "largest first": [By(rows.c.size, descending=True), By(rows.c.id, descending=True)],
    "mixed": [By(rows.c.size, descending=True), By(rows.c.name), By(rows.c.id)],
    "newest": [By(rows.c.at, descending=True), By(rows.c.id, descending=True)],
}
COUNT = 173


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reads(engine: AsyncEngine) -> AsyncIterator[Reads]:
    chance = Random(7)
    async with engine.begin() as connection:
        await connection.run_sync(rows.metadata.create_all)
        await connection.execute(
            insert(rows),
            [
                {
                    "id": uuid4(),
                    "name": chance.choice(["Ghee", "ghee", "Óleo", "a, b", "“quoted”"]),
                    "size": chance.randrange(-3, 3),
                    "at": datetime(2026, 1, 1, 0, 0, chance.randrange(5), chance.randrange(10**6), tzinfo=UTC),
                }
                for _ in range(COUNT)
            ],
        )
    yield Reads(engine)
    async with engine.begin() as connection:
        await connection.run_sync(rows.metadata.drop_all)


async def read(reads: Reads, sort: str, first: int | None, after: str | None) -> Page[UUID]:
    return await page(reads, select(rows.c.id), SORTS[sort], lambda row: row.id, first, after, sort)


@pytest.mark.parametrize("sort", SORTS)
async def test_pages_hold_every_row_once_in_order(reads: Reads, sort: str) -> None:
    seen: list[UUID] = []
    after = None
    while True:
        got = await read(reads, sort, 20, after)
        seen += got.nodes
        assert got.page_info.has_previous_page == (after is not None)
        assert got.page_info.end_cursor == got.edges[-1].cursor
        after = got.page_info.end_cursor
        if not got.page_info.has_next_page:
            break
    order = [by.column.desc() if by.descending else by.column.asc() for by in SORTS[sort]]
    assert seen == [row.id for row in await reads.rows(select(rows.c.id).order_by(*order))]
    assert len(seen) == COUNT
    assert await total(reads, got) == COUNT


async def test_the_size_of_a_page_is_from_1_to_50(reads: Reads) -> None:
    assert len((await read(reads, "mixed", None, None)).nodes) == 20
    assert len((await read(reads, "mixed", 50, None)).nodes) == 50
    for first in (0, -1, 51, 2**31):
        with pytest.raises(Refused) as no:
            await read(reads, "mixed", first, None)
        assert isinstance(no.value.refusal, InvalidInput)


ID = "0197b3a0-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("sort", "after"),
    [
        ("by name", ""),
        ("by name", "x"),
        ("by name", "é"),
        ("by name", "%%%%"),
        ("by name", cursor(())),
        ("by name", cursor(("by name", "a"))),
        ("by name", cursor(("by name", "a", "b"))),
        ("by name", cursor(("by name", "a\0", ID))),
        ("by name", cursor(("by name", None, ID))),
        ("by name", cursor(("by name", {"a": 1}, ID))),
        ("by name", cursor(("newest", "a", ID))),
        ("by name", base64.urlsafe_b64encode(b'["by name", "\\ud800", "' + ID.encode() + b'"]').decode()),
        ("by name", base64.urlsafe_b64encode(b'{"a": 1}').decode()),
        ("by name", base64.urlsafe_b64encode(b"\xff\xff").decode()),
        ("by name", base64.urlsafe_b64encode(b"[" * 100_000).decode()),
        ("largest first", cursor(("largest first", 2**31, ID))),
        ("largest first", cursor(("largest first", 10**30, ID))),
        ("largest first", cursor(("largest first", "1", ID))),
        ("largest first", cursor(("largest first", True, ID))),
        ("largest first", cursor(("largest first", 1.5, ID))),
        ("newest", cursor(("newest", "2026-01-01T00:00:00", ID))),
        ("newest", cursor(("newest", "0001-01-01T00:00:00+14:00", ID))),
        ("newest", cursor(("newest", "yesterday", ID))),
    ],
)
async def test_a_broken_cursor_is_invalid_input(reads: Reads, sort: str, after: str) -> None:
    with pytest.raises(Refused) as no:
        await read(reads, sort, 20, after)
    assert isinstance(no.value.refusal, InvalidInput)
    assert no.value.refusal.problems[0].path == "after"


async def test_a_cursor_is_opaque_text_of_the_keys(reads: Reads) -> None:
    got = await read(reads, "by name", 1, None)
    raw = base64.urlsafe_b64decode(got.edges[0].cursor + "==")
    told: list[Any] = msgspec.json.decode(raw)
    assert told[0] == "by name"
    assert told[2] == str(got.nodes[0])
