"""What happens because time has passed: holds end, snoozed listings return, orders and payments expire, refunds go out,
sources that should have spoken are told of."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from db import health, orders, payments, stock
from db.reads import Reads
from domain import at_risk, fulfilment, merchants, purchases, sessions, trace
from domain.cancelling import heed_cancelling
from domain.choices import return_choices
from domain.health import fall_silent, mark_stale
from domain.payments import Gateway
from domain.refusals import Refused
from domain.stock import release_expired, return_due
from domain.unit_of_work import Begin

log = logging.getLogger("haat.deadlines")
EVERY_S = 0.5  # a hold is released within 2 s of its end
SOME = 200
MARKINGS = 4  # transactions of a round for levels of silent sources: holds do not wait for a whole chain's
PRUNE_EVERY_S = 3600
RETRY_REFUND = (timedelta(seconds=5), timedelta(hours=1))  # doubling, from and up to


@dataclass(frozen=True)
class Deadlines:
    """Each round is short transactions of their own: several workers may run it, and what one has done the next finds done."""

    reads: Reads
    unit_of_work: Begin
    gateway: Gateway

    async def run(self) -> None:
        trace.cause.set("clock")
        while True:
            for task in (
                self.holds,
                self.snoozes,
                self.choices,
                self.at_risk,
                self.unanswered,
                self.unpaid,
                self.refunds,
                self.statuses,
                self.silence,
                self.sessions,
            ):
                await _guarded(task.__name__, task)
            await asyncio.sleep(EVERY_S)

    async def holds(self) -> None:
        while listing_ids := await stock.expired(self.reads, SOME):
            async with self.unit_of_work() as uow:
                await release_expired(listing_ids, uow)

    async def snoozes(self) -> None:
        while listing_ids := await stock.due_back(self.reads, SOME):
            async with self.unit_of_work() as uow:
                await return_due(listing_ids, uow)

    async def choices(self) -> None:
        """Add-ons that had run out for a while."""
        async with self.unit_of_work() as uow:
            await return_choices(uow)

    async def statuses(self) -> None:
        """Stores that open or close by their hours, and those whose pause is over."""
        looked_at = SOME
        while looked_at == SOME:
            async with self.unit_of_work() as uow:
                looked_at = await merchants.tell_due(uow, SOME)

    async def silence(self) -> None:
        """Sources that should have spoken by now, and then their levels, some at a time."""
        to_do = await health.to_do(self.reads)
        if to_do.late:
            async with self.unit_of_work() as uow:
                silent = await fall_silent(uow, SOME)
            for one in silent:
                log.error(
                    "a source of %s has fallen silent: %s",
                    one.provider,
                    one.source_id,
                    extra={"source": str(one.source_id), "provider": one.provider, "silent_since": str(one.silent_since)},
                )
        more, rounds = to_do.doubted or to_do.late, 0
        while more and rounds < MARKINGS:
            async with self.unit_of_work() as uow:
                more, rounds = await mark_stale(uow), rounds + 1

    async def sessions(self) -> None:
        """Long over: nobody asks for them any more."""
        if random.random() < EVERY_S / PRUNE_EVERY_S:  # noqa: S311  # as often as that among all workers, without a word between them
            async with self.unit_of_work() as uow:
                await sessions.prune(uow)

    async def at_risk(self) -> None:
        """Orders whose units a count has taken away, and those that fit again."""
        await self._each("at_risk", await stock.in_doubt(self.reads, SOME), at_risk.review)

    async def unanswered(self) -> None:
        await self._each("unanswered", await orders.overdue(self.reads, SOME), fulfilment.expire_order)

    async def unpaid(self) -> None:
        await self._each("unpaid", await payments.unpaid(self.reads, SOME), purchases.expire_unpaid)

    async def _each(self, name: str, ids: Sequence[UUID], expire: Callable[..., Awaitable[None]]) -> None:
        for id in ids:
            await _guarded(name, partial(self._one, id, expire))

    async def _one(self, id: UUID, expire: Callable[..., Awaitable[None]]) -> None:
        async with self.unit_of_work() as uow:
            await expire(id, uow)

    async def refunds(self) -> None:
        """Once for the gateway, however often it is asked: it knows the refund's id."""
        for due in await payments.due_refunds(self.reads, SOME):
            try:
                ref = await self.gateway.refund(due.id, due.gateway_ref, due.amount)
            except Refused as refused:
                log.warning("refund waits", extra={"refund": str(due.id), "code": refused.refusal.code})
                first, most = RETRY_REFUND
                async with self.unit_of_work() as uow:
                    await uow.payments.try_later(due.id, min(most, first * 2 ** min(due.attempts, 10)))
            else:
                async with self.unit_of_work() as uow:
                    await uow.payments.given_back(due.id, ref)


async def _guarded(name: str, task: Callable[[], Awaitable[None]]) -> None:
    """One kind of deadline that fails does not hold up the others: the next round tries it again."""
    try:
        await task()
    except Exception as error:
        heed_cancelling(error)
        log.exception("deadline", extra={"task": name})
