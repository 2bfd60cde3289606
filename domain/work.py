"""A group of instructions, while it is carried out: whose is what, and what is old news.

What each kind does stands in catalog_instructions.py and stock_instructions.py.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from domain.canonical import DeactivateMissing, UpdatePrice, UpdateStockLevel, UpdateStoreStatus, UpsertMenuItem, named
from domain.conflicts import Said
from domain.intake import EntityKind, Family
from domain.mappings import ANY_STORE, appeared
from domain.queue import APPLIED, STALE, Instruction, Origin, Outcome, Told, failed, parked
from domain.sources import LockedSource
from domain.truth import Field

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

LISTING = "LISTING"
Outcomes = dict[UUID, Outcome]
BY_SKU = frozenset({Family.ERP, Family.SELLER})  # their ids are SKUs; a till's are its own
IN_A_STORE = (UpdatePrice, UpdateStockLevel, UpdateStoreStatus, UpsertMenuItem, DeactivateMissing)


@dataclass(frozen=True)
class Placed:
    """An instruction with its store, where it speaks of one."""

    instruction: Instruction
    store_id: UUID | None

    @property
    def id(self) -> UUID:
        return self.instruction.id

    @property
    def command(self) -> Any:
        return self.instruction.command

    @property
    def cause(self) -> str:
        return self.instruction.cause


@dataclass(frozen=True)
class Work:
    """One group's."""

    origin: Origin
    uow: "UnitOfWork"
    outcomes: Outcomes
    said: list[Said] = field(default_factory=list)  # of what another is believed: domain/overruling.py
    believed: dict[Field, set[UUID]] = field(default_factory=dict)  # entities of which this source alone is, and has told now

    # ------------------------------------------------------------ whose is what

    async def placed(self, instructions: Sequence[Instruction]) -> list[Placed]:
        """A store nobody has mapped is never guessed."""
        found = []
        for one in instructions:
            command, stores = one.command, self.origin.stores
            if command.store is not None:
                if command.store not in stores:
                    self.outcomes[one.id] = parked(named(EntityKind.STORE, command.store))
                    continue
                found.append(Placed(one, stores[command.store]))
            elif not isinstance(command, IN_A_STORE):
                found.append(Placed(one, None))
            elif len(stores) == 1:
                found.append(Placed(one, next(iter(stores.values()))))
            elif not stores:
                self.outcomes[one.id] = parked(ANY_STORE)
            else:
                self.outcomes[one.id] = failed(f"names no store, and the source has {len(stores)}")
        return found

    async def variants(self, external_ids: Collection[str]) -> dict[str, UUID]:
        """By mapping, else by SKU where the source speaks of SKUs. Never by name."""
        found = dict(await self.uow.sources.mapped(self.origin.source_id, EntityKind.VARIANT, external_ids))
        rest = [id for id in external_ids if id not in found]
        if rest and self.origin.family in BY_SKU:
            merchant_id = self.origin.merchant_id
            by_sku = await self.uow.catalog.variants_by_sku({(merchant_id, id) for id in rest})
            found |= {sku: variant.id for (_, sku), variant in by_sku.items()}
        return found

    async def products(self, external_ids: Collection[str]) -> dict[str, UUID]:
        found = dict(await self.uow.sources.mapped(self.origin.source_id, EntityKind.PRODUCT, external_ids))
        rest = [id for id in external_ids if id not in found]
        if rest and self.origin.family in BY_SKU:
            by_sku = await self.uow.catalog.variants_by_sku({(self.origin.merchant_id, id) for id in rest})
            found |= {sku: variant.product_id for (_, sku), variant in by_sku.items()}
        return found

    async def map(self, kind: EntityKind, ids: Sequence[tuple[str, UUID]]) -> None:
        """What was made for the source is known to it by its own id, and wakes who waited for it."""
        source = LockedSource(self.origin.source_id, self.origin.merchant_id, self.origin.provider, self.origin.family)
        await self.uow.sources.map(source, kind, ids)
        await self.wake(appeared(kind, [external_id for external_id, _ in ids]))

    async def wake(self, names: Collection[str]) -> None:
        if names:
            await self.uow.instructions.wake(self.origin.merchant_id, names)

    # ------------------------------------------------------------ old news and new

    async def newer(self, field: str, told: Sequence[tuple[Placed, UUID]]) -> list[Placed]:
        """Those that are no older than what was told of the entity before. The others are superseded."""
        news = [news_of(field, entity_id, one) for one, entity_id in told]
        won = await self.uow.instructions.tell(self.origin.source_id, news)
        for one, entity_id in told:
            if (field, entity_id) not in won:
                self.outcomes[one.id] = STALE
        return [one for one, entity_id in told if (field, entity_id) in won]

    def done(self, some: Sequence[Placed]) -> None:
        self.outcomes.update({one.id: APPLIED for one in some})

    @property
    def said_by(self) -> str:
        return f"source:{self.origin.source_id}"


def news_of(field: str, entity_id: UUID, one: Placed) -> Told:
    command = one.command
    at = command.not_before or one.instruction.at
    return Told(field, entity_id, command.version, at)


def unlisted(store_id: UUID, variant_id: UUID) -> str:
    """What waits for a variant we know to be listed in a store."""
    return f"{LISTING}:{variant_id}@{store_id}"


def store_of(one: Placed) -> UUID:
    assert one.store_id is not None
    return one.store_id


def apart(some: Sequence[tuple[Placed, Sequence[Any]]]) -> list[Placed]:
    """Those that share nothing with one before them: two words about one thing are said one after the other."""
    taken: set[Any] = set()
    alone = []
    for one, things in some:
        if taken.isdisjoint(things):
            alone.append(one)
        taken.update(things)
    return alone
