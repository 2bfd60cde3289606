"""A process that reads what was kept unread and is never done, for tests that tell it to go. Arguments: database url, step."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

from db.reads import Reads
from db.unit_of_work import unit_of_work
from providers.catalogue_file import CatalogueFile
from wiring import INBOUNDS
from workers.instructions import Instructions


def takes_for_ever(*_: object) -> Any:
    print("reading", flush=True)
    time.sleep(600)


def one_batch() -> Iterator[Any]:
    yield takes_for_ever()


def make_slow(step: str) -> None:
    in_pieces = CatalogueFile.in_pieces
    if step == "translate":
        type(INBOUNDS["wms"]).translate = takes_for_ever  # type: ignore[method-assign]  # of this process, which ends soon
    elif step == "in_pieces":
        CatalogueFile.in_pieces = takes_for_ever  # type: ignore[method-assign]
    else:
        CatalogueFile.in_pieces = lambda *told: replace(in_pieces(*told), batches=one_batch())  # type: ignore[method-assign]


async def main(database_url: str, step: str) -> None:
    make_slow(step)
    engine = create_async_engine(database_url)
    worker = asyncio.create_task(Instructions(lambda: unit_of_work(engine), Reads(engine), INBOUNDS).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.cancel)
    with suppress(asyncio.CancelledError):
        await worker
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
