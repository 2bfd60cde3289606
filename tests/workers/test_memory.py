"""However many rows a file has, a worker has what some of them say in hand at a time: it grows by the file's bytes and its ids."""

import asyncio
import csv
import io
import json
import sys

import pytest
from sqlalchemy import delete, select

from db import tables as t
from tests.figures import show
from tests.partners import partner
from tests.workers.killing import ROOT
from tests.world import shop
from webhooks.intake import LARGE_BODY_BYTES

FEW, MANY = 10_000, 100_000
MOST = 1_050  # bytes for each row more: its own hundred several times over and its id, some 700. With all that is said held: 1,600
MOST_IMPORTED = 1_850  # its own two hundred, read once more for the report: some 1,450. With all held: 2,300
IMPORT_BYTES = 2 * LARGE_BODY_BYTES
COLUMNS = ("id", "title", "price", "quantity")


def file(written: str, rows: int, size: int) -> bytes:
    """So many goods, in so many bytes or a little less."""
    goods = [(f"S{n}", f"Thing {n}", f"{n % 999}.50", str(n % 50)) for n in range(1, rows + 1)]

    def made(padding: str) -> bytes:
        if written == "json":
            return json.dumps(
                [dict(zip(COLUMNS, (id, title + padding, *more), strict=True)) for id, title, *more in goods]
            ).encode()
        text = io.StringIO()
        csv.writer(text).writerows([COLUMNS, *((id, title + padding, *more) for id, title, *more in goods)])
        return text.getvalue().encode()

    return made("x" * ((size - len(made(""))) // rows))


async def grown(*arguments: str) -> tuple[int, int]:
    """Instructions that were written down, and bytes that the process grew by."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.workers.one_measured", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = await process.stdout.read()
    assert await process.wait() == 0
    written, size = told.split()
    return int(written), int(size)


async def forget(engine, sources) -> None:
    """What was never carried out: other tests have workers too."""
    async with engine.begin() as connection:
        await connection.execute(delete(t.payload).where(t.payload.c.source_id.in_(sources)))


@pytest.mark.long
@pytest.mark.parametrize("written", ["csv", "json"])
async def test_a_file_of_a_hundred_thousand_rows_that_fills_a_body_is_read_some_rows_at_a_time(engine, database_url, written):
    sizes = {}
    for rows in (FEW, MANY):
        seller = await partner(engine, "catalogue_file", "mine")
        body = file(written, rows, LARGE_BODY_BYTES * rows // MANY)
        answer = await seller.client.post(seller.path("import?store=mine"), content=body)
        assert answer.status_code == 202
        try:
            count, sizes[rows] = await grown(database_url)
        finally:
            await forget(engine, [seller.source_id])
        assert count == 4 * rows
    show("memory of a file", written=written, **{str(rows): round(size / 1e6) for rows, size in sizes.items()})
    assert sizes[MANY] - sizes[FEW] < MOST * (MANY - FEW)


@pytest.mark.long
async def test_a_longer_file_is_brought_in_from_a_terminal_some_rows_at_a_time(engine, database_url, tmp_path):
    sizes = {}
    for rows in (FEW, MANY):
        slug, path = f"flat-{rows}", tmp_path / f"{rows}.csv"
        mine = await shop(engine, slug=slug)
        path.write_bytes(file("csv", rows, IMPORT_BYTES * rows // MANY))
        try:
            count, sizes[rows] = await grown(database_url, str(path), slug)
        finally:
            await forget(engine, select(t.source.c.id).where(t.source.c.merchant_id == mine.merchant_id))
        assert count == 4 * rows
    show("memory of an import", **{str(rows): round(size / 1e6) for rows, size in sizes.items()})
    assert sizes[MANY] - sizes[FEW] < MOST_IMPORTED * (MANY - FEW)
