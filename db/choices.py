"""Choices of a store's menu: written whole, switched on and off."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Executable, Row, Text, Uuid, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import each, rows
from db.columns import TIME
from db.ids import new_id
from db.tables import listing, listing_modifier_group, mapping, modifier, modifier_group
from domain.catalog import Place
from domain.choices import ChoiceSwitch, OfferedGroups, UpsertedGroup
from domain.intake import EntityKind
from domain.refusals import not_found

li, group, c, link = listing.c, modifier_group.c, modifier.c, listing_modifier_group.c


def _asked(choices: Sequence[tuple[UUID, str]]) -> Any:
    return rows("asked", store_id=(Uuid(), [one[0] for one in choices]), external_id=(Text(), [one[1] for one in choices])).c


class SqlChoices:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, statement: Executable) -> Sequence[Row[*tuple[Any, ...]]]:
        return (await self._connection.execute(statement)).all()

    async def save_groups(self, groups: Sequence[UpsertedGroup], places: Mapping[UUID, Place]) -> dict[UUID, UUID]:
        if not groups:
            return {}
        last = {(one.store_id, one.external_id): one for one in groups}
        before = await self._groups(last)
        added = {key: new_id() for key in last if key not in before}
        await each(
            self._connection,
            insert(modifier_group),
            [
                {
                    "id": id,
                    "merchant_id": places[key[0]].merchant_id,
                    "store_id": key[0],
                    "external_id": key[1],
                    "name": last[key].name,
                }
                for key, id in added.items()
            ],
        )
        renamed = [(before[key].id, one.name) for key, one in last.items() if key in before and before[key].name != one.name]
        await each(
            self._connection,
            update(modifier_group).where(group.id == bindparam("key")).values(name=bindparam("title")),
            [{"key": id, "title": name} for id, name in renamed],
        )
        ids = {key: added.get(key) or before[key].id for key in last}
        changed = {id for id, _ in renamed} | await self._save_options({ids[key]: one for key, one in last.items()}, places)
        found = await self._rows(
            select(link.listing_id, li.store_id).join(listing, li.id == link.listing_id).where(link.group_id.in_(changed))
        )
        return {row.listing_id: row.store_id for row in found}

    async def _groups(self, keys: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], Row[*tuple[Any, ...]]]:
        asked = list(keys)
        by = rows("by", store_id=(Uuid(), [one for one, _ in asked]), external_id=(Text(), [one for _, one in asked]))
        found = await self._rows(
            select(group.id, group.store_id, group.external_id, group.name).join(
                by, and_(group.store_id == by.c.store_id, group.external_id == by.c.external_id)
            )
        )
        return {(row.store_id, row.external_id): row for row in found}

    async def _save_options(self, groups: Mapping[UUID, UpsertedGroup], places: Mapping[UUID, Place]) -> set[UUID]:
        """Returns the groups whose options have changed by it."""
        found = await self._rows(
            select(c.id, c.group_id, c.external_id, c.name, c.price_minor, c.active, c.rank)
            .where(c.group_id.in_(groups))
            .order_by(c.id)
            .with_for_update(key_share=True)
        )
        before = {(row.group_id, row.external_id): row for row in found}
        told = {(id, one.external_id): one for id, whole in groups.items() for one in whole.modifiers}
        added, changed, touched = [], [], set()
        for (group_id, external_id), one in told.items():
            row = before.get((group_id, external_id))
            values = {"name": one.name, "price_minor": one.price_minor, "active": one.active, "rank": one.rank}
            place = places[groups[group_id].store_id]
            if row is None:
                added.append(
                    {"id": new_id(), "merchant_id": place.merchant_id, "store_id": place.id, "group_id": group_id,
                     "external_id": external_id, "currency": place.currency, **values}
                )  # fmt: skip
            elif (row.name, row.price_minor, row.active, row.rank) != tuple(values.values()):
                changed.append({"key": row.id, **{f"new_{name}": value for name, value in values.items()}})
            else:
                continue
            touched.add(group_id)
        gone = [row for key, row in before.items() if key not in told and row.active]
        touched |= {row.group_id for row in gone}
        await each(self._connection, insert(modifier), added)
        names = ("name", "price_minor", "active", "rank")
        await each(
            self._connection,
            update(modifier).where(c.id == bindparam("key")).values({name: bindparam(f"new_{name}") for name in names}),
            changed,
        )
        if gone:
            await self._connection.execute(update(modifier).where(c.id.in_([row.id for row in gone])).values(active=False))
        return touched

    async def offer_groups(self, offers: Sequence[OfferedGroups]) -> set[UUID]:
        whole = {one.listing_id: one.groups for one in offers}
        if not whole:
            return set()
        found = await self._rows(
            select(li.id, group.external_id, group.id.label("group_id"))
            .join(modifier_group, group.store_id == li.store_id)
            .where(li.id.in_(whole), group.external_id.in_({one.external_id for groups in whole.values() for one in groups}))
        )
        ids = {(row.id, row.external_id): row.group_id for row in found}
        if any((listing_id, one.external_id) not in ids for listing_id, groups in whole.items() for one in groups):
            raise not_found("modifier group")
        told = {
            (listing_id, ids[listing_id, one.external_id]): (one.min, one.max, one.rank)
            for listing_id, groups in whole.items()
            for one in groups
        }
        rows_before = await self._rows(
            select(link.id, link.listing_id, link.group_id, link.min, link.max, link.rank).where(link.listing_id.in_(whole))
        )
        before = {(row.listing_id, row.group_id): row for row in rows_before}
        gone = [row for key, row in before.items() if key not in told]
        added = [(key, one) for key, one in told.items() if key not in before]
        changed = [
            (before[key], one)
            for key, one in told.items()
            if key in before and one != (before[key].min, before[key].max, before[key].rank)
        ]
        if gone:
            await self._connection.execute(delete(listing_modifier_group).where(link.id.in_([row.id for row in gone])))
        await each(
            self._connection,
            insert(listing_modifier_group),
            [
                {"id": new_id(), "listing_id": key[0], "group_id": key[1], "min": least, "max": most, "rank": rank}
                for key, (least, most, rank) in added
            ],
        )
        await each(
            self._connection,
            update(listing_modifier_group)
            .where(link.id == bindparam("key"))
            .values(min=bindparam("least"), max=bindparam("most"), rank=bindparam("place")),
            [{"key": row.id, "least": least, "most": most, "place": rank} for row, (least, most, rank) in changed],
        )
        return {row.listing_id for row in gone} | {key[0] for key, _ in added} | {row.listing_id for row, _ in changed}

    # ------------------------------------------------------------ on and off

    async def known(self, choices: Collection[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
        asked = _asked(sorted(set(choices)))
        found = await self._connection.execute(
            select(c.store_id, c.external_id).where(c.store_id == asked.store_id, c.external_id == asked.external_id)
        )
        return {(row.store_id, row.external_id) for row in found}

    async def mapped(self, source_id: UUID, external_ids: Collection[str]) -> dict[str, str]:
        m = mapping.c
        asked = rows("asked", external_id=(Text(), sorted(set(external_ids)))).c
        found = await self._connection.execute(
            select(m.external_id, c.external_id.label("called"))
            .join_from(mapping, modifier, c.id == m.id)
            .where(m.source_id == source_id, m.kind == EntityKind.MODIFIER, m.external_id == asked.external_id)
        )
        return {row.external_id: row.called for row in found}

    async def switch(self, switches: Sequence[ChoiceSwitch]) -> dict[UUID, str]:
        last = {(switch.store_id, switch.external_id): switch for switch in switches}
        told = sorted(last.values(), key=lambda switch: (switch.store_id, switch.external_id))
        to = rows(
            "to",
            store_id=(Uuid(), [switch.store_id for switch in told]),
            external_id=(Text(), [switch.external_id for switch in told]),
            off=(Boolean(), [switch.off for switch in told]),
            back_at=(TIME, [switch.back_at if switch.off else None for switch in told]),
            cause=(Text(), [switch.cause for switch in told]),
        ).c
        changed = (
            update(modifier)
            .where(
                c.store_id == to.store_id,
                c.external_id == to.external_id,
                or_(c.off != to.off, c.back_at.is_distinct_from(to.back_at)),
            )
            .values(off=to.off, back_at=to.back_at)
            .returning(c.group_id, to.cause)
            .cte("changed")
        )
        offered = listing_modifier_group.c
        found = await self._connection.execute(
            select(offered.listing_id, func.min(changed.c.cause))
            .join_from(listing_modifier_group, changed, changed.c.group_id == offered.group_id)
            .group_by(offered.listing_id)
        )
        return {row[0]: row[1] for row in found}

    async def due_back(self, limit: int) -> list[ChoiceSwitch]:
        found = await self._connection.execute(
            select(c.store_id, c.external_id).where(c.off, c.back_at <= func.clock_timestamp()).order_by(c.back_at).limit(limit)
        )
        return [ChoiceSwitch(row.store_id, row.external_id, off=False, back_at=None, cause="clock") for row in found]
