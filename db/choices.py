"""Choices of a store's menu, switched on and off."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Text, Uuid, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import rows
from db.columns import TIME
from db.tables import listing_modifier_group, modifier
from domain.choices import ChoiceSwitch

c = modifier.c


def _asked(choices: Sequence[tuple[UUID, str]]) -> Any:
    return rows("asked", store_id=(Uuid(), [one[0] for one in choices]), external_id=(Text(), [one[1] for one in choices])).c


class SqlChoices:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def known(self, choices: Collection[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
        asked = _asked(sorted(set(choices)))
        found = await self._connection.execute(
            select(c.store_id, c.external_id).where(c.store_id == asked.store_id, c.external_id == asked.external_id)
        )
        return {(row.store_id, row.external_id) for row in found}

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
