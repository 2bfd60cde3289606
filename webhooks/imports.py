"""How far a file has come, for who sent it. What was wrong with its rows is read from its bytes once more: they say it exactly,
whatever a failure's message has room for.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from db import imports
from db.reads import Reads
from domain.bodies import INLINE, Bodies, BodyLost
from domain.doors import called
from domain.imports import ERRORS_SHOWN, ImportAsked, LeftOut, Sent
from domain.intake import Answer, Call, Inbound, InPieces, PayloadState, Source, described, problems_of
from domain.refusals import Problem
from domain.threads import Threads

log = logging.getLogger("haat.imports")
JOBS_KEPT = 64  # a job is asked for again and again until it is done
JOB_DOOR = "import"


@dataclass(frozen=True)
class Reports:
    """Of one process. One file is read at a time, and beside the event loop; of each source one waits for that, and is read to its
    end even where whoever asked has gone: the next who asks finds it.
    """

    bodies: Bodies = INLINE
    _read: OrderedDict[UUID, LeftOut] = field(default_factory=OrderedDict)
    _reading: dict[UUID, asyncio.Task[LeftOut]] = field(default_factory=dict)  # by source
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _thread: Threads = field(default_factory=lambda: Threads("reports", 1))  # who is told to go does not wait for a long file

    async def answer(self, asked: ImportAsked, inbound: Inbound, source: Source, reads: Reads) -> Answer:
        job = await imports.job(reads, source.id, asked.job, JOB_DOOR) if asked.job is not None else None
        if job is None or not (job.translated or job.state is PayloadState.REJECTED) or not isinstance(inbound, InPieces):
            return asked.shaped(job, LeftOut())
        return asked.shaped(job, await self._left_out(job.id, inbound, inbound, source, reads))

    async def _left_out(self, id: UUID, inbound: Inbound, pieces: InPieces, source: Source, reads: Reads) -> LeftOut:
        while id not in self._read:
            other = self._reading.get(source.id)
            if other is not None:
                await asyncio.wait([other])
                continue
            mine = asyncio.create_task(self._look(id, inbound, pieces, source, reads))
            self._reading[source.id] = mine
            mine.add_done_callback(partial(self._ended, source.id))
            return await asyncio.shield(mine)
        return self._read[id]

    def _ended(self, source_id: UUID, reading: asyncio.Task[LeftOut]) -> None:
        del self._reading[source_id]
        if not reading.cancelled() and (error := reading.exception()) is not None:  # whoever waits hears of it, if anybody does
            log.info("a report could not be made: %s", type(error).__name__)

    async def _look(self, id: UUID, inbound: Inbound, pieces: InPieces, source: Source, reads: Reads) -> LeftOut:
        async with self._turn:
            sent = await imports.sent(reads, id)
            body = await self._body(id, sent)
            found = LeftOut()  # what its rows came to is told all the same
            if body is not None:
                found = await self._thread.run(partial(_left_out, inbound, pieces, source, sent, body), source.id)
            self._read[id] = found
            while len(self._read) > JOBS_KEPT:
                self._read.popitem(last=False)
            return found

    async def _body(self, id: UUID, sent: Sent) -> bytes | None:
        """None where it came so long ago that its bytes are kept no more, or they are lost."""
        if not sent.body.whole:
            return None
        try:
            return await self.bodies.read(sent.body)
        except BodyLost as lost:
            log.error("of the file %s nobody can be told what was left out: %s", id, lost)  # the store's, not ours
            return None


def _left_out(inbound: Inbound, pieces: InPieces, source: Source, sent: Sent, body: bytes) -> LeftOut:
    told = called(inbound.doors, sent.headers)
    call = Call(JOB_DOOR, body, sent.headers, sent.received_at, told.query, told.values, told.method, told.url)
    rows, beyond = set[str](), 0
    problems: list[Problem] = []
    try:
        for batch in pieces.in_pieces(call, source).batches:
            rows.update(problem.path.partition(".")[0] for problem in batch.problems)
            room = ERRORS_SHOWN - len(problems)
            problems += batch.problems[:room]
            beyond += max(0, len(batch.problems) - room)
    except Exception as error:  # of such a file nothing went in
        return LeftOut(0, problems_of(error) or (Problem("file", described(error)),))
    rows.discard("file")
    return LeftOut(len(rows), problems, beyond)
