"""Orders told to the store's till: what there is to tell, and whose turn it is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Interval,
    Text,
    Uuid,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, rows
from db.events import to_event
from db.failures import UNSETTLED, Columns
from db.reads import Reads
from db.tables import (
    event,
    failure,
    instruction,
    mapping,
    order_line,
    orders,
    payload,
    sink,
    source,
    source_access,
    source_telling,
    telling,
)
from domain.access import SealedAccess
from domain.delivery import DeliveryMoved
from domain.intake import EntityKind
from domain.orders import IN_STORE, OrderMoved, OrderStatus
from domain.outbound import OF_RIDER, OrderNews
from domain.refusals import Conflict, Refused
from domain.telling import DOOR, Ended, Followed, Listener, NewTelling, Spent, Telling, TellingState, TellingTurn

t, st, e, k, m = telling.c, source_telling.c, event.c, sink.c, mapping.c
s, a, o = source.c, source_access.c, orders.c
NOW = func.clock_timestamp()
SINK = "tellings"
KINDS = (OrderMoved.__name__, DeliveryMoved.__name__)
CAUSES = {"instruction": instruction, "telling": telling}  # what a source is behind, by the word before its id in the log
# As it stands in the partial index: of a bound value no plan could know that it fits.
WAITING: ColumnElement[Any] = literal_column("'WAITING'")


def _due(c: Columns) -> ColumnElement[bool]:
    """Of an alias of `telling`: it is time for it, and none that waits stands before it that is of its order."""
    before = telling.alias("before").c
    earlier = exists().where(
        before.source_id == c.source_id, before.order_id == c.order_id, before.state == WAITING, before.pos < c.pos
    )
    return and_(c.state == WAITING, c.next_at <= NOW, ~earlier, or_(~c.parked, _mapped(c), _gone(c)))


def _overdue(c: Columns) -> ColumnElement[bool]:
    """Of one that is due: to be given up, whoever can be told of anything. What is parked waits for people."""
    return and_(_due(c), ~c.parked, c.since + c.try_for <= NOW)


def _mapped(c: Columns) -> ColumnElement[bool]:
    """Whether each line of its order has an id of the source's by now: whoever has mapped it, and however."""
    line, theirs = order_line.alias("line").c, mapping.alias("theirs").c
    known = exists().where(theirs.source_id == c.source_id, theirs.kind == EntityKind.VARIANT, theirs.id == line.variant_id)
    return ~exists().where(line.order_id == c.order_id, ~known)


def _gone(c: Columns) -> ColumnElement[bool]:
    """The order is the store's to make no more."""
    one = orders.alias("gone").c
    return exists().where(one.id == c.order_id, one.status.not_in(IN_STORE))


class SqlTellings:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    # ------------------------------------------------------------ from the log

    async def next_events(self, limit: int) -> tuple[Sequence[Followed], bool]:
        mine = select(k.pos).where(k.name == SINK).with_for_update(skip_locked=True)
        pos = (await self._connection.execute(mine)).scalar_one_or_none()
        if pos is None:  # nobody is told of anything yet, or another follows
            return (), False
        body, one_before = case((e.kind.in_(KINDS), e.body)).label("body"), event.alias("one_before")
        before = one_before.c
        earlier = and_(before.stream == e.stream, before.entity_id == e.entity_id, before.seq == e.seq - 1)
        of_order = e.kind == OrderMoved.__name__
        found = await self._connection.execute(
            select(e.pos, e.at, e.kind, body, e.caused_by, before.body["status"].astext.label("was"))
            .outerjoin_from(event, one_before, and_(of_order, earlier))
            .where(e.pos > pos)
            .order_by(e.pos)
            .limit(limit)
        )
        entries = found.all()
        if not entries:
            return (), False
        await self._connection.execute(update(sink).where(k.name == SINK).values(pos=entries[-1].pos))
        ours = [row for row in entries if row.kind in KINDS]
        followed = [
            Followed(row.pos, row.at, to_event(row.kind, row.body), row.caused_by, OrderStatus(row.was) if row.was else None)
            for row in ours
        ]
        return followed, len(entries) == limit

    async def listeners(self, store_ids: Collection[UUID], providers: Collection[str]) -> list[Listener]:
        found = await self._connection.execute(
            select(st.source_id, s.provider, m.id, st.since)
            .join_from(source_telling, source, s.id == st.source_id)
            .join(mapping, and_(m.source_id == st.source_id, m.kind == EntityKind.STORE))
            .where(among(m.id, store_ids), st.since.is_not(None), s.provider.in_(providers))
            .distinct()
        )
        return [Listener(*row) for row in found]

    async def said_by(self, causes: Collection[str]) -> dict[str, UUID]:
        said: dict[str, UUID] = {}
        for word, table in CAUSES.items():
            ids = {UUID(cause.partition(":")[2]): cause for cause in causes if cause.partition(":")[0] == word}
            if ids:
                found = await self._connection.execute(select(table.c.id, table.c.source_id).where(among(table.c.id, ids)))
                said |= {ids[row.id]: row.source_id for row in found if row.source_id is not None}
        return said

    async def add(self, new: Sequence[NewTelling]) -> None:
        # What an order was told with its placing may be among them: that is there before anybody looks whether it is.
        await self._add([one for one in new if one.news is OrderNews.PLACED])
        before = telling.alias("before").c
        await self._add([one for one in new if one.news is not OrderNews.PLACED], before)

    async def _add(self, new: Sequence[NewTelling], before: Any = None) -> None:
        if not new:
            return
        one = rows(
            "one",
            id=(Uuid(), [each.id for each in new]),
            source_id=(Uuid(), [each.source_id for each in new]),
            order_id=(Uuid(), [each.order_id for each in new]),
            merchant_id=(Uuid(), [each.merchant_id for each in new]),
            news=(Text(), [each.news.value for each in new]),
            seq=(Integer(), [each.seq for each in new]),
            pos=(BigInteger(), [each.pos for each in new]),
            try_for=(Interval(), [each.try_for for each in new]),
        ).c
        found = select(*one)
        if before is not None:
            found = found.where(
                exists().where(before.source_id == one.source_id, before.order_id == one.order_id, before.news == OrderNews.PLACED)
            )
        await self._connection.execute(insert(telling).from_select([column.name for column in one], found).on_conflict_do_nothing())

    # ------------------------------------------------------------ whether, and whose turn

    async def switch(self, source_id: UUID, *, on: bool) -> bool:
        if not on:
            mine = update(source_telling).where(st.source_id == source_id, st.since.is_not(None))
            off = mine.values(since=None, held_until=None).returning(st.source_id)
            was_on = (await self._connection.execute(off)).scalar_one_or_none()
            await self._drop(source_id)
            return was_on is not None
        known = await self._connection.execute(select(a.source_id).where(a.source_id == source_id))
        if known.scalar_one_or_none() is None:
            raise Refused(Conflict("nobody has said where it is told, and with what: setSourceAccess does"))
        new = insert(source_telling).values(source_id=source_id, since=NOW)
        new = new.on_conflict_do_update(
            index_elements=[st.source_id],
            set_={"since": NOW, "next_at": NOW, "failed": 0, "message": None},
            where=st.since.is_(None),
        )
        # Who begins to listen begins where the log is by now: what was told before is not its business.
        last = select(func.coalesce(func.max(e.pos), 0)).scalar_subquery()
        await self._connection.execute(insert(sink).values(name=SINK, pos=last).on_conflict_do_nothing())
        was_off = (await self._connection.execute(new.returning(st.source_id))).scalar_one_or_none() is not None
        if was_off:  # who was following the log as it was switched off may have written down more
            await self._drop(source_id)
        return was_off

    async def _drop(self, source_id: UUID) -> None:
        rest = update(telling).where(t.source_id == source_id, t.state == WAITING)
        await self._connection.execute(rest.values(state=TellingState.MOOT, done_at=NOW, message="it was switched off"))

    async def not_told(self, source_id: UUID) -> set[UUID]:
        f = failure.c
        found = await self._connection.execute(
            select(t.payload_id)
            .join_from(telling, failure, f.payload_id == t.payload_id)
            .where(t.source_id == source_id, f.state.in_(UNSETTLED))
        )
        return set(found.scalars())

    async def turn(self, hold: timedelta, providers: Collection[str]) -> TellingTurn | None:
        free, one = or_(st.held_until.is_(None), st.held_until <= NOW), telling.alias("one").c
        resting = (st.next_at > NOW).label("resting")
        due, overdue = (exists().where(one.source_id == st.source_id, which(one)) for which in (_due, _overdue))
        found = await self._connection.execute(
            select(st.source_id, s.provider, a.base_url, a.sealed, st.failed, st.budget, st.budget_at, st.message, resting)
            .join_from(source_telling, source, s.id == st.source_id)
            .join(source_access, a.source_id == st.source_id)
            .where(st.since.is_not(None), free, s.enabled, s.provider.in_(providers))
            .where(case((st.next_at <= NOW, due), else_=overdue))
            .order_by(resting.desc(), st.next_at)  # what can only be given up is soon done
            .limit(1)
            .with_for_update(of=source_telling, skip_locked=True)
        )
        row = found.one_or_none()
        if row is None:
            return None
        mine = update(source_telling).where(st.source_id == row.source_id).values(held_until=NOW + hold)
        until, now = (await self._connection.execute(mine.returning(st.held_until, NOW.label("now")))).one()
        access = SealedAccess(row.source_id, row.base_url, row.sealed)
        return TellingTurn(
            row.source_id, row.provider, access, now, until, row.failed, row.budget, row.budget_at, row.message, row.resting
        )

    async def hold(self, turn: TellingTurn, held_until: datetime, hold: timedelta, spent: Spent) -> datetime | None:
        return await self._stands(turn, held_until, spent, {"held_until": NOW + hold})

    async def end(self, turn: TellingTurn, held_until: datetime, spent: Spent) -> bool:
        let_go = {"held_until": None, "next_at": func.greatest(st.next_at, NOW + spent.next_in)}
        return await self._stands(turn, held_until, spent, let_go) is not None

    async def _stands(self, turn: TellingTurn, held_until: datetime, spent: Spent, more: Mapping[str, Any]) -> datetime | None:
        mine = and_(st.source_id == turn.source_id, st.held_until == held_until)
        stands = {"failed": spent.failed, "budget": spent.budget, "budget_at": NOW, "message": spent.message}
        done = await self._connection.execute(
            update(source_telling).where(mine).values(**stands, **more).returning(func.coalesce(st.held_until, NOW))
        )
        until: datetime | None = done.scalar_one_or_none()
        return until

    # ------------------------------------------------------------ one after another

    async def begin(self, source_id: UUID, set_aside: timedelta, *, overdue: bool = False) -> Telling | None:
        one = telling.alias("one").c
        which = _overdue(one) if overdue else _due(one)
        first = select(one.id).where(one.source_id == source_id, which).order_by(one.pos, one.id).limit(1).scalar_subquery()
        tried = await self._connection.execute(
            update(telling)
            .where(t.id == first)
            # What was parked begins anew: it waited for people, and for no till.
            .values(attempts=t.attempts + 1, next_at=NOW + set_aside, since=case((t.parked, NOW), else_=t.since))
            .returning(t.id, t.order_id, t.news, t.pos, t.attempts, (t.since + t.try_for <= NOW).label("overdue"), t.payload_id)
        )
        row = tried.one_or_none()
        if row is None:
            return None
        later = and_(one.source_id == source_id, one.order_id == row.order_id, one.pos > row.pos)
        overtaken = exists().where(later, one.news == OrderNews.RIDER_ASSIGNED).label("overtaken")
        found = await self._connection.execute(
            select(t.state, t.attempts, t.refused, overtaken).where(
                t.source_id == source_id, t.order_id == row.order_id, t.news == OrderNews.PLACED
            )
        )
        placed = found.one()
        has_order = placed.state is TellingState.TOLD and not placed.refused
        may_have_order = has_order or (placed.attempts > 0 and not placed.refused)
        return Telling(
            row.id,
            row.order_id,
            row.news,
            row.attempts,
            row.overdue,
            row.payload_id,
            has_order=has_order,
            may_have_order=may_have_order,
            overtaken=row.news in OF_RIDER and placed.overtaken,
        )

    async def finish(self, telling_id: UUID, ended: Ended) -> None:
        if ended.state is None:
            # No later than when it is to be given up: people hear of it then.
            next_at = NOW + ended.next_in if ended.parked else func.least(NOW + ended.next_in, t.since + t.try_for)
            written: dict[str, Any] = {"next_at": next_at, "message": ended.message, "parked": ended.parked}
        else:
            written = {
                "state": ended.state,
                "done_at": NOW,
                "message": ended.message,
                "reference": ended.reference,
                "refused": ended.refused,
                "parked": False,
            }
        if ended.payload_id is not None:
            written["payload_id"] = ended.payload_id
        if ended.state is TellingState.MOOT or ended.parked or not ended.spoken:
            written["attempts"] = t.attempts - 1  # it was not one
        await self._connection.execute(update(telling).where(t.id == telling_id, t.state == WAITING).values(**written))

    async def again(self, payload_ids: Collection[UUID]) -> set[UUID]:
        p = payload.c
        found = await self._connection.execute(select(p.id).where(among(p.id, payload_ids), p.door == DOOR))
        ours = set(found.scalars())
        if ours:
            on = select(st.source_id).where(st.since.is_not(None))
            failed = update(telling).where(among(t.payload_id, ours), t.state == TellingState.FAILED, t.source_id.in_(on))
            await self._connection.execute(
                failed.values(
                    state=TellingState.WAITING,
                    next_at=NOW,
                    since=NOW,
                    done_at=None,
                    refused=False,
                    attempts=case((t.refused, 0), else_=t.attempts),
                )
            )
        return ours

    async def reference(self, source_id: UUID, order_id: UUID) -> str | None:
        found = select(t.reference).where(t.source_id == source_id, t.order_id == order_id, t.news == OrderNews.PLACED)
        reference: str | None = (await self._connection.execute(found)).scalar_one_or_none()
        return reference

    async def numbers(self, source_id: UUID, references: Collection[str]) -> dict[str, str]:
        if not references:
            return {}
        found = await self._connection.execute(
            select(t.reference, o.number)
            .join(orders, o.id == t.order_id)
            .where(t.source_id == source_id, among(t.reference, references))
            .order_by(t.pos)
        )
        return {row.reference: row.number for row in found}  # the last of those that have the same


# ---------------------------------------------------------------- what people see of it


@dataclass(frozen=True, slots=True)
class Untold:
    """What a source has still to be told. `paused_until`: it is left alone until then; `message` is why the last call failed."""

    source_id: UUID
    waiting: int
    since: datetime | None
    paused_until: datetime | None
    message: str | None


@dataclass(frozen=True, slots=True)
class UntoldNews:
    source_id: UUID
    order_id: UUID
    order_number: str
    news: OrderNews
    since: datetime
    next_at: datetime
    attempts: int
    parked: bool
    message: str | None


NEWS_SHOWN = 50  # of a source, those that come first


async def untold(reads: Reads, ids: Sequence[UUID]) -> list[Untold]:
    """In no order. Who asks has been shown the sources."""
    waits = (
        select(func.count().label("waiting"), func.min(t.since).label("since"))
        .where(t.source_id == s.id, t.state == WAITING)
        .lateral("waits")
    )
    paused_until = case((st.next_at > NOW, st.next_at)).label("paused_until")
    found = (
        select(s.id, waits.c.waiting, waits.c.since, paused_until, st.message)
        .select_from(source)
        .join(waits, true())
        .join(source_telling, st.source_id == s.id, isouter=True)
        .where(among(s.id, ids))
    )
    return [Untold(*row) for row in await reads.rows(found)]


async def untold_news(reads: Reads, ids: Sequence[UUID]) -> list[UntoldNews]:
    """Those of each source that come first, in the order in which they are told."""
    first = (
        select(t.order_id, t.news, t.since, t.next_at, t.attempts, t.parked, t.message, t.pos, t.id)
        .where(t.source_id == s.id, t.state == WAITING)
        .order_by(t.pos, t.id)
        .limit(NEWS_SHOWN)
        .lateral("first")
    )
    one = first.c
    found = (
        select(s.id, one.order_id, o.number, one.news, one.since, one.next_at, one.attempts, one.parked, one.message)
        .select_from(source)
        .join(first, true())
        .join(orders, o.id == one.order_id)
        .where(among(s.id, ids))
        .order_by(s.id, one.pos, one.id)
    )
    return [UntoldNews(*row) for row in await reads.rows(found)]
