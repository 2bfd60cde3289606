"""A worker that reads one long file as a process of its own, and says by how many bytes it has grown meanwhile, at most.

Arguments: database url, then either nothing (what a door has kept) or a file and the slug of a store, as `./haat import` is given
them. It prints the instructions that were written down, which are taken back, and the bytes.
"""

import asyncio
import gc
import re
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.long_payloads import read_in_pieces
from providers.catalogue_file import CatalogueFile
from tests.partners import worker_of
from workers import file_import, instructions


class ReadWhole(Exception):
    """Nothing of it is kept: who carries it all out takes minutes."""


async def read_and_count(unread: Any, known: Any, whole: bool, batches: Any, uow: Any) -> None:
    await read_in_pieces(unread, known, whole, batches, uow)
    raise ReadWhole(await uow.instructions.count(unread.id))


async def read(engine: AsyncEngine) -> int:
    async with unit_of_work(engine) as uow:
        unread = await uow.payloads.next_untranslated(["catalogue_file"])
    assert unread is not None
    try:
        await worker_of(engine)._read_late(unread)
    except ReadWhole as done:
        return int(done.args[0])
    raise AssertionError("it was not read in pieces")


async def brought_in(engine: AsyncEngine, path: str, slug: str) -> int:
    found = 0

    async def only_read(payload_id: UUID, *_: Any) -> None:
        nonlocal found
        found = await read(engine)

    file_import._carry_out = only_read
    await file_import.import_catalogue(
        Path(path), slug, 5, unit_of_work=lambda: unit_of_work(engine), reads=Reads(engine), inbound=CatalogueFile()
    )
    return found


def resident(line: str) -> int:
    found = re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def measured_anew() -> int:
    """From here on VmHWM is of what follows. Returns the bytes that are resident by now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


async def main(database_url: str, *file: str) -> None:
    instructions.read_in_pieces = read_and_count
    engine = create_async_engine(database_url)
    async with engine.connect():
        pass
    before = measured_anew()
    written = await (brought_in(engine, *file) if file else read(engine))
    print(written, resident("VmHWM") - before)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
