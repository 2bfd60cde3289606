"""Processes that keep long payloads, lay them away, drop and sweep them, and end by SIGKILL where they are told to.

Arguments: database url, directory of blobs, source id, its secret in hexadecimal. From standard input a line for each process: the
moment, which time it is passed, a seed. It says `kept` with the SHA-256 of each body that was acknowledged, `dropping` with the
first id that is not old enough, and how each process ended.
"""

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import create_async_engine

from adapters import blobs
from adapters.blobs import DirectoryBlobs
from db import tables as t
from db.ids import first_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import retention
from domain.blobs import sweep
from domain.bodies import Bodies
from domain.intake import FailureState, InstructionState
from domain.signatures import sign
from domain.unit_of_work import UnitOfWork
from launch.process import die_with_parent
from tests.partners import SEALS, client_of, event
from webhooks.intake import Door
from wiring import INBOUNDS

INLINE_BYTES, STORE = 2_000, "BLR_DS1"
KEPT = 3  # bodies of so many processes before this one stay
NOW = timedelta(0)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


class Fate:
    """`part` is what is being done; each step of it is passed some times."""

    def __init__(self, moment: str, nth: int) -> None:
        self.moment, self.left, self.part = moment, nth, "door"

    def step(self, name: str) -> None:
        if f"{self.part} {name}" == self.moment:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


class Watched(DirectoryBlobs):
    def __init__(self, root: Path, fate: Fate) -> None:
        super().__init__(root)
        self.fate = fate

    async def put(self, key: str, data: bytes) -> None:
        await super().put(key, data)
        self.fate.step("put")

    async def delete(self, key: str) -> None:
        await super().delete(key)
        self.fate.step("deleted")


async def keeps(given: Sequence[str], old: datetime, fate: Fate, seed: str) -> None:
    database_url, root, source_id, secret = given
    engine, chance = create_async_engine(database_url, pool_size=3), random.Random(seed)
    store = Watched(Path(root), fate)
    bodies = Bodies(store, INLINE_BYTES)
    replace = Path.replace

    def named(self: Path, target: Path) -> Path:
        fate.step("written")
        return replace(self, target)

    Path.replace = named  # type: ignore[method-assign,assignment]  # of this process, which ends soon

    async def then() -> datetime:
        return old

    @asynccontextmanager
    async def begin() -> AsyncIterator[UnitOfWork]:
        async with unit_of_work(engine) as uow:
            if fate.part == "drop":
                uow.now = then  # type: ignore[method-assign]
            yield uow
            fate.step("commits")
        fate.step("committed")

    async with engine.begin() as connection:  # nobody is in the middle of anything: what is there is old, and done with
        await connection.execute(update(t.blob_stray).values(at=func.clock_timestamp() - timedelta(days=2)))
        await connection.execute(update(t.retention).values(began_at=func.clock_timestamp() - timedelta(days=2)))
        await connection.execute(update(t.instruction).values(state=InstructionState.APPLIED))
        await connection.execute(update(t.failure).values(state=FailureState.RESOLVED))

    client = client_of(Door(INBOUNDS, Reads(engine), begin, SEALS, bodies=bodies, url="http://haat.test"))
    for number in range(4):
        delta = "3" if number != 2 else "?"  # one is refused, and kept by another way
        padding = chance.randbytes(chance.choice([10, 4_000, 20_000])).hex()
        raw = json.dumps({**event("stock.adjusted", location=STORE, sku="TEA", delta=delta), "padding": padding}).encode()
        id, now = f"{seed}-{number}", int(datetime.now(UTC).timestamp())
        headers = {"webhook-id": id, "webhook-timestamp": str(now), "webhook-signature": sign(bytes.fromhex(secret), id, now, raw)}
        answer = await client.post(
            f"/v1/integrations/erp/wms/webhooks/stock?source={UUID(source_id)}", content=raw, headers=headers
        )
        fate.step("answered")
        assert answer.status_code in (200, 400), answer.text
        say(f"kept {hashlib.sha256(raw).hexdigest()}")

    async def all_of(part: str, once: Any) -> None:
        fate.part = part
        while await once():
            pass

    await all_of("lay away", lambda: retention.lay_away(bodies, NOW, begin))
    say(f"dropping {first_id(old)}")
    await all_of("drop", lambda: retention.drop_bodies(NOW, begin))
    await all_of("drop", lambda: retention.drop_overdue(NOW, begin))
    await all_of("sweep", lambda: sweep(store, begin))
    await engine.dispose()


def main(*given: str) -> None:
    die_with_parent(signal.SIGKILL, os.getppid())
    blobs.TIMEOUT_S = 30.0  # a disk that others keep busy is not away
    ours, began = os.getpid(), deque[datetime](maxlen=KEPT + 1)
    for line in sys.stdin:
        began.append(datetime.now(UTC))
        moment, nth, seed = line.strip().split("/")
        pid = os.fork()
        if pid == 0:
            die_with_parent(signal.SIGKILL, ours)
            asyncio.run(keeps(given, began[0], Fate(moment, int(nth)), seed))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)} {moment}")


if __name__ == "__main__":
    main(*sys.argv[1:])
