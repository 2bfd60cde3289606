"""The queue of instructions: claimed in order, carried out by groups, settled with their payloads."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Integer,
    Select,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among as within
from db.arrays import given_rows, in_ids
from db.columns import TIME
from db.instructions import (
    DUE,
    FOR_ITS_DAY,
    INSTRUCTION,
    IS_PARKED,
    IS_WAITING,
    LEFT,
    columns_of,
    new_rows,
    to_instruction,
    told_by,
)
from db.tables import instruction, listing, mapping, modifier, payload, source, source_of_truth, told, variant
from db.truth import holding
from domain.befores import Was
from domain.canonical import Command, Stage, UpdateStockLevel
from domain.intake import APPROVAL, JUDGEMENT, EntityKind, InstructionState, PayloadState, Source
from domain.queue import Group, Instruction, Origin, Outcome, Told
from domain.work import BY_SKU, LISTING

i, p, t = instruction.c, payload.c, told.c
WAITING, PARKED = InstructionState.WAITING, InstructionState.PARKED
APPLIED, REFUSED = InstructionState.APPLIED, InstructionState.REFUSED
ROWS_AT_ONCE = 2_000  # of one INSERT: a batch of fifty thousand is no single statement
earlier = instruction.alias("earlier")
BEFORE = tuple_(earlier.c.payload_id, earlier.c.id) < tuple_(i.payload_id, i.id)
# Of each entity the first: that of the payload that came first, whenever it was read. By their own ids two batches whose pieces
# were written in turns would wait for each other. But for what waits for people to approve it: a parked batch blocks nothing
# later. And what waits for a thing to appear blocks its own kind alone: a count of what is not listed yet must not keep back the
# price that lists it.
# Asked for each row: as a join it is the square of a long menu wherever the planner has not counted it yet.
BLOCKS = or_(earlier.c.state == IS_WAITING, earlier.c.command == i.command, earlier.c.waits_for == JUDGEMENT)
FIRST = (
    select(earlier.c.id)
    .where(
        earlier.c.source_id == i.source_id,
        earlier.c.entity >= i.entity,  # equal: said so that the order below is one index's alone, and no other will do
        earlier.c.entity <= i.entity,
        BEFORE,
        earlier.c.state.in_([IS_WAITING, IS_PARKED]),
        earlier.c.waits_for.is_distinct_from(APPROVAL),
        # Of its own batch what comes in a later stage waits for it: a thing that is told of twice would wait for itself.
        or_(earlier.c.payload_id != i.payload_id, earlier.c.stage <= i.stage),
        BLOCKS,
    )
    .order_by(earlier.c.source_id, earlier.c.entity, earlier.c.payload_id, earlier.c.id)
    .limit(1)
    .correlate(instruction)
    .scalar_subquery()
    .is_(None)
)


def _added() -> Insert:
    new = new_rows()
    told = {
        **told_by(new),
        "source_id": bindparam("source_id", type_=Uuid()),
        "merchant_id": bindparam("merchant_id", type_=Uuid()),
        "state": bindparam("state", type_=Text()),
        "next_at": new.c.due,
        "waits_for": bindparam("waits_for", type_=Text()),
        "created_at": bindparam("received_at", type_=TIME),
    }
    return insert(instruction).from_select(list(told), select(*told.values()), include_defaults=False)


def _sources_waiting() -> Select[Any]:
    # From one source to the next through the index, however many instructions each has.
    first = select(i.source_id).where(i.state == IS_WAITING).order_by(i.source_id).limit(1)
    found = select(first.scalar_subquery().label("source_id")).cte("found", recursive=True)
    following = (
        select(i.source_id).where(i.state == IS_WAITING, i.source_id > found.c.source_id).order_by(i.source_id).limit(1)
    ).scalar_subquery()
    found = found.union_all(select(following).where(found.c.source_id.is_not(None)))
    due = exists().where(DUE, i.source_id == found.c.source_id).correlate(found)
    return select(found.c.source_id).where(found.c.source_id.is_not(None), due)


OF_SOURCE = bindparam("source", type_=Uuid())


def _ready(*what: ColumnElement[Any], among: bool) -> Select[Any]:
    return (
        select(*what)
        .join_from(instruction, payload, p.id == i.payload_id)
        .where(DUE, i.source_id == OF_SOURCE, i.stage <= p.stage, FIRST, in_ids(i.id) if among else literal(True))
        .order_by(i.next_at, i.stage, i.id)
    )


def _next(*, among: bool) -> Select[Any]:
    first = _ready(i.command, i.merchant_id, among=among).limit(1).subquery("first")
    return select(first.c.command, holding(first.c.merchant_id))


def _claim(*, among: bool) -> Select[Any]:
    return (
        _ready(*INSTRUCTION, among=among)
        .where(i.command == bindparam("kind", type_=Text()))
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(of=instruction, skip_locked=True)
    )


def _stores() -> Select[Any]:
    rule = source_of_truth.c
    return (
        select(mapping.c.external_id, mapping.c.id, rule.field, rule.source_id)
        .join(source_of_truth, rule.store_id == mapping.c.id, isouter=True)
        .where(mapping.c.source_id == OF_SOURCE, mapping.c.kind == EntityKind.STORE)
    )


def _finished() -> Update:
    by = given_rows("by", id=Uuid(), state=Text(), waits_for=Text(), was=Text())
    waits = by.c.state.in_([WAITING.value, PARKED.value])
    return (
        update(instruction)
        .where(i.id == by.c.id)
        .values(
            state=by.c.state,
            waits_for=by.c.waits_for,
            done_at=case((waits, None), else_=func.clock_timestamp()),
            was=cast(by.c.was, JSONB),
        )
        .returning(i.payload_id)
    )


def _settled() -> tuple[Update, Update]:
    """The stage each payload has come to; then its end, where it has come to that."""
    of_it = i.payload_id == p.id
    waiting = and_(of_it, i.state == IS_WAITING)
    # One put off does not hold up the others of its batch, only what comes after all of them; one that waits for its
    # day holds up nothing.
    fresh = (
        select(i.stage)
        .where(waiting, i.attempts == 0, i.next_at <= func.clock_timestamp(), i.stage < int(Stage.MISSING))
        .order_by(i.stage)
        .limit(1)
        .scalar_subquery()
    )
    now_stage = select(i.stage).where(waiting, ~FOR_ITS_DAY).order_by(i.stage).limit(1).scalar_subquery()
    last_stage = select(i.stage).where(waiting).order_by(i.stage.desc()).limit(1).scalar_subquery()
    stage = func.coalesce(fresh, now_stage, last_stage).label("stage")
    stages = select(p.id, stage).where(in_ids(p.id)).subquery("stages")
    done = exists().where(of_it, i.state == APPLIED)
    ended = case(
        (exists().where(of_it, i.state == InstructionState.FAILED), PayloadState.FAILED.value),
        (exists().where(of_it, i.state == IS_PARKED), PayloadState.PARKED.value),
        (and_(exists().where(of_it, i.state == REFUSED), ~done), PayloadState.REFUSED.value),
        else_=PayloadState.APPLIED.value,
    )
    staged = (
        update(payload)
        .where(p.id == stages.c.id, stages.c.stage.is_not(None), or_(p.stage != stages.c.stage, p.state != PayloadState.ACCEPTED))
        .values(stage=stages.c.stage, state=PayloadState.ACCEPTED)
    )
    return staged, update(payload).where(in_ids(p.id), ~exists().where(waiting), p.judged).values(state=ended)


def _told() -> Insert:
    one = given_rows("one", field=Text(), entity_id=Uuid(), version=BigInteger(), at=TIME).c
    new = upsert(told).from_select(
        ["source_id", "field", "entity_id", "source_version", "at"],
        select(OF_SOURCE, one.field, one.entity_id, one.version, one.at),
    )
    said = new.excluded
    # A version decides where both have one. The same again is no older: a snapshot may say what it has said.
    not_older = case(
        (and_(said.source_version.is_not(None), t.source_version.is_not(None)), said.source_version >= t.source_version),
        else_=said.at >= t.at,
    )
    newest = {
        "source_version": func.coalesce(said.source_version, t.source_version),
        "at": func.greatest(said.at, t.at),
        "heard_at": func.clock_timestamp(),
    }
    kept = new.on_conflict_do_update(index_elements=[t.source_id, t.field, t.entity_id], set_=newest, where=not_older)
    return kept.returning(t.field, t.entity_id)


# Made once, as each source is looked at again and again: to make one takes longer than to run it.
_ADDED = _added()
_SOURCES_WAITING = _sources_waiting()
_NEXT = {among: _next(among=among) for among in (False, True)}
_CLAIM = {among: _claim(among=among) for among in (False, True)}
_S = source.c
_ORIGIN = select(_S.id, _S.merchant_id, _S.provider, _S.family, _S.count_drops, _S.may_create).where(_S.id == OF_SOURCE)
_STORES = _stores()
_FINISHED = _finished()
# Not for its key: another's failure may point at the same payload, as one of ours may at theirs.
_LOCKED = select(p.id).where(in_ids(p.id)).order_by(p.id).with_for_update(key_share=True)
_STAGED, _ENDED = _settled()
_TOLD = _told()


class SqlInstructions:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._unsettled: set[UUID] = set()
        self._was: dict[UUID, list[Was]] = {}

    async def add(
        self,
        payload_id: UUID,
        source: Source,
        commands: Sequence[Command],
        received_at: datetime,
        *,
        waits_for: str | None,
        after: int = 0,
    ) -> None:
        state = WAITING if waits_for is None else PARKED
        for start in range(0, len(commands), ROWS_AT_ONCE):
            some = commands[start : start + ROWS_AT_ONCE]
            due = [max(received_at, command.not_before or received_at) for command in some]
            await self._connection.execute(
                _ADDED,
                {
                    **columns_of(payload_id, some, due, after + start),
                    "source_id": source.id,
                    "merchant_id": source.merchant_id,
                    "state": state.value,
                    "waits_for": waits_for,
                    "received_at": received_at,
                },
            )
        if commands or after:
            self._touched([payload_id])

    # ------------------------------------------------------------ claiming

    async def sources_waiting(self) -> list[UUID]:
        return list((await self._connection.execute(_SOURCES_WAITING)).scalars())

    async def claim(self, source_id: UUID, limit: int, among: Collection[UUID] | None = None) -> Group | None:
        of = {"source": source_id} if among is None else {"source": source_id, "ids": list(among)}
        # Who is believed is held before anything is locked, and read after (`_group`): a statement sees what was so as it began.
        row = (await self._connection.execute(_NEXT[among is not None], of)).one_or_none()
        if row is None:
            return None
        found = await self._connection.execute(_CLAIM[among is not None], {**of, "kind": row.command, "most": limit})
        return await self._group(source_id, [to_instruction(row) for row in found])

    async def of_payload(self, payload_id: UUID) -> Group | None:
        found = await self._connection.execute(
            select(*INSTRUCTION, i.source_id)
            .join_from(instruction, payload, p.id == i.payload_id)
            .where(i.payload_id == payload_id)
            .order_by(i.ordinal)
        )
        every = found.all()
        return await self._group(every[0].source_id, [to_instruction(row) for row in every]) if every else None

    async def _group(self, source_id: UUID, instructions: Sequence[Instruction]) -> Group | None:
        if not instructions:
            return None
        row = (await self._connection.execute(_ORIGIN, {"source": source_id})).one()
        stores = (await self._connection.execute(_STORES, {"source": source_id})).all()
        rules = {(one.id, one.field): one.source_id for one in stores if one.field is not None}
        return Group(Origin(*row, stores={one.external_id: one.id for one in stores}, rules=rules), instructions)

    async def park_followers(self, source_id: UUID) -> int:
        first = (
            select(earlier.c.waits_for)
            .where(
                earlier.c.source_id == i.source_id,
                earlier.c.entity == i.entity,
                BEFORE,
                earlier.c.state.in_([IS_WAITING, IS_PARKED]),
                earlier.c.state == IS_PARKED,
                # What is not judged yet keeps them waiting by itself; parked for it they would stay so, as nothing judges them.
                earlier.c.waits_for.not_in([APPROVAL, JUDGEMENT]),
                BLOCKS,
            )
            .order_by(earlier.c.payload_id, earlier.c.id)
            .limit(1)
            .scalar_subquery()
        )
        # Nearly always there is none: who is behind another worker's hand is only looked at.
        behind = (
            select(i.id, first.label("waits_for"))
            .where(DUE, i.source_id == source_id, first.is_not(None))
            .with_for_update(skip_locked=True)
            .cte("behind")
        )
        done = await self._connection.execute(
            update(instruction)
            .where(i.id == behind.c.id)
            .values(state=PARKED, waits_for=behind.c.waits_for)
            .returning(i.payload_id)
        )
        parked = self._touched(done.scalars())
        await self.settle()
        return parked

    # ------------------------------------------------------------ what became of them

    def remember(self, instruction_id: UUID, was: Iterable[Was]) -> None:
        self._was.setdefault(instruction_id, []).extend(was)

    async def finish(self, outcomes: Mapping[UUID, Outcome]) -> None:
        if not outcomes:
            return
        by = {
            "by_id": list(outcomes),
            "by_state": [outcome.state.value for outcome in outcomes.values()],
            "by_waits_for": [outcome.waits_for for outcome in outcomes.values()],
            "by_was": [self._was_of(id) for id in outcomes],
        }
        done = await self._connection.execute(_FINISHED, by)
        self._touched(done.scalars())

    def _was_of(self, instruction_id: UUID) -> str | None:
        """Short: [field, entity, its version, before, after] of each. NULL, where it has changed nothing."""
        was = self._was.pop(instruction_id, None)
        if not was:
            return None
        told = [(one.field, one.entity_id, one.version, one.before, one.after) for one in was]
        return msgspec.json.encode(told).decode()

    async def put_off(self, instruction_id: UUID, seconds: float) -> None:
        await self._connection.execute(
            update(instruction)
            .where(i.id == instruction_id, i.state == IS_WAITING)
            .values(attempts=i.attempts + 1, next_at=func.clock_timestamp() + timedelta(seconds=seconds))
        )

    def _touched(self, payload_ids: Iterable[UUID]) -> int:
        ids = list(payload_ids)
        self._unsettled.update(ids)
        return len(ids)

    async def settle(self) -> None:
        """Whoever comes second sees what the first has done: the rows are locked before their instructions are read."""
        ids = sorted(self._unsettled)
        self._unsettled.clear()
        if not ids:
            return
        for statement in (_LOCKED, _STAGED, _ENDED):
            await self._connection.execute(statement, {"ids": ids})

    async def retry(self, instruction_ids: Collection[UUID]) -> None:
        await self._wait_again(within(i.id, instruction_ids), i.state.in_([InstructionState.FAILED, PARKED]))

    async def release(self, payload_id: UUID, waits_for: str) -> int:
        return await self._wait_again(i.payload_id == payload_id, i.state == IS_PARKED, i.waits_for == waits_for)

    async def wake(self, merchant_id: UUID, appeared: Iterable[str]) -> int:
        return await self._wait_again(
            i.merchant_id == merchant_id, i.state == IS_PARKED, within(i.waits_for, sorted(set(appeared)))
        )

    async def wake_resolved(self) -> int:
        kind, name = func.split_part(i.waits_for, ":", 1), func.substr(i.waits_for, func.strpos(i.waits_for, ":") + 1)
        item_of = and_(kind == EntityKind.VARIANT.value, i.command == UpdateStockLevel.__name__)
        m, v, s, li = mapping.c, variant.c, source.c, listing.c
        mapped = exists().where(m.source_id == i.source_id, m.external_id == name, cast(m.kind, Text) == kind)
        product = exists().where(m.source_id == i.source_id, m.external_id == name, m.kind == EntityKind.PRODUCT)
        store = exists().where(m.source_id == i.source_id, m.kind == EntityKind.STORE)
        by_sku = exists().where(s.id == i.source_id, s.family.in_(BY_SKU), v.merchant_id == i.merchant_id, v.sku == name)
        place = func.split_part(name, "@", 1), func.split_part(name, "@", 2)
        listed = exists().where(li.store_id == cast(place[1], Uuid), li.variant_id == cast(place[0], Uuid))
        items = [EntityKind.VARIANT.value, EntityKind.PRODUCT.value]
        # A choice is known by its own store's menu: there by its own id, or by that of the one it is mapped to.
        said = i.body["store"].astext
        its_store = and_(m.source_id == i.source_id, m.kind == EntityKind.STORE, or_(said.is_(None), m.external_id == said))
        by_hand, on_menu = mapping.alias("by_hand").c, modifier.alias("on_menu").c
        called = (
            select(on_menu.external_id)
            .where(by_hand.source_id == i.source_id, by_hand.kind == EntityKind.MODIFIER, by_hand.external_id == name)
            .where(on_menu.id == by_hand.id)
            .correlate(instruction)
            .scalar_subquery()
        )
        choice = exists().where(its_store, modifier.c.store_id == m.id, modifier.c.external_id.in_([name, called]))
        there = case(
            (kind == LISTING, listed),
            (kind == EntityKind.MODIFIER.value, choice),
            (kind == i.waits_for, store),
            else_=or_(mapped, and_(item_of, product), and_(kind.in_(items), by_sku)),
        )
        return await self._wait_again(i.state == IS_PARKED, i.waits_for.not_in([APPROVAL, JUDGEMENT]), there)

    async def weigh(self) -> None:
        # What holds the table up for too long must not undo what the transaction has done.
        with suppress(DBAPIError):
            async with self._connection.begin_nested():
                await self._connection.execute(text("ANALYZE instruction"))

    async def count(self, payload_id: UUID) -> int:
        found = select(func.count()).where(i.payload_id == payload_id)
        return int((await self._connection.execute(found)).scalar_one())

    async def waiting(self, payload_id: UUID) -> int:
        found = select(func.count()).where(i.payload_id == payload_id, i.state == IS_WAITING)
        return int((await self._connection.execute(found)).scalar_one())

    async def _wait_again(self, *which: ColumnElement[bool]) -> int:
        # In id order, as everybody locks them.
        mine = select(i.id).where(*which).order_by(i.id).with_for_update().cte("mine")
        due = func.greatest(i.next_at, func.clock_timestamp())  # what was parked may have its day still to come
        done = await self._connection.execute(
            update(instruction)
            .where(i.id == mine.c.id)
            .values(state=WAITING, waits_for=None, attempts=0, next_at=due, done_at=None)
            .returning(i.payload_id)
        )
        return self._touched(done.scalars())

    async def approve_later(self, payload_id: UUID, waits_for: str, becomes: str) -> None:
        await self._connection.execute(
            update(instruction).where(i.payload_id == payload_id, i.waits_for == waits_for).values(waits_for=becomes)
        )
        self._touched([payload_id])

    async def refuse(self, payload_id: UUID, waits_for: str) -> int:
        waiting = (i.payload_id == payload_id, i.state == IS_PARKED, i.waits_for == waits_for)
        return len(await self._end(REFUSED, *waiting))

    async def supersede(self, instruction_ids: Collection[UUID]) -> None:
        await self._end(InstructionState.SUPERSEDED, within(i.id, instruction_ids), i.state == IS_PARKED)

    async def leave(self, payload_id: UUID) -> list[UUID]:
        return await self._end(REFUSED, i.payload_id == payload_id, LEFT)

    async def _end(self, state: InstructionState, *which: ColumnElement[bool]) -> list[UUID]:
        mine = select(i.id).where(*which).order_by(i.id).with_for_update().cte("mine")
        done = await self._connection.execute(
            update(instruction)
            .where(i.id == mine.c.id)
            .values(state=state, waits_for=None, done_at=func.clock_timestamp())
            .returning(i.id, i.payload_id)
        )
        ended = done.all()
        self._touched(row.payload_id for row in ended)
        return [row.id for row in ended]

    # ------------------------------------------------------------ old news and new

    async def newest(self, source_id: UUID, fields: Collection[str], entity_ids: Collection[UUID]) -> dict[tuple[str, UUID], Told]:
        found = await self._connection.execute(
            select(t.field, t.entity_id, t.source_version, t.at).where(
                t.source_id == source_id, t.field.in_(fields), within(t.entity_id, entity_ids)
            )
        )
        return {(row.field, row.entity_id): Told(*row) for row in found}

    async def tell(self, source_id: UUID, news: Sequence[Told]) -> set[tuple[str, UUID]]:
        if not news:
            return set()
        inorder = sorted(news, key=lambda one: (one.field, one.entity_id))  # every writer takes them in this order
        given = {
            "source": source_id,
            "one_field": [one.field for one in inorder],
            "one_entity_id": [one.entity_id for one in inorder],
            "one_version": [one.version for one in inorder],
            "one_at": [one.at for one in inorder],
        }
        done = await self._connection.execute(_TOLD, given)
        return {(row.field, row.entity_id) for row in done}
