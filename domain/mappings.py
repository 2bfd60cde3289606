"""Which of a source's ids are which of ours."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from domain.canonical import FORM, named
from domain.identity import Actor
from domain.intake import EntityKind
from domain.refusals import invalid, not_found
from domain.texts import line

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class MapExternalId:
    source_id: UUID
    kind: EntityKind
    external_id: str
    id: UUID


EXTERNAL_ID_CHARACTERS = 200
ANY_STORE = EntityKind.STORE.value  # what waits for whichever store the source will be mapped to
_ITEMS = (EntityKind.PRODUCT, EntityKind.VARIANT)


def appeared(kind: EntityKind, external_ids: Iterable[str]) -> list[str]:
    """What may have waited for these. A till's item is a product or a variant: who waits for one asks for either."""
    kinds = _ITEMS if kind in _ITEMS else (kind,)
    ids = list(external_ids)
    names = [named(one, external_id) for external_id in ids for one in kinds]
    if kind is EntityKind.VARIANT:
        names += [named(EntityKind.MODIFIER, id.rpartition(FORM)[2]) for id in ids if FORM in id]
    return [*names, ANY_STORE] if kind is EntityKind.STORE else names


OF_MERCHANT = "a source is of one merchant, whatever that is called in what it says: there is nothing to map"
MAPPED = tuple(kind for kind in EntityKind if kind is not EntityKind.MERCHANT)


async def map_external_id(command: MapExternalId, actor: Actor, uow: "UnitOfWork") -> None:
    """What waited for it runs by itself. Safe to repeat. Refuses NotFound for what is not there or another's, InvalidInput."""
    if command.kind not in MAPPED:
        raise invalid("kind", OF_MERCHANT)
    external_id = line("externalId", command.external_id, EXTERNAL_ID_CHARACTERS)
    source = await uow.sources.lock(command.source_id, actor)
    if source is None:
        raise not_found("source")
    if not await uow.sources.owned(source.merchant_id, command.kind, command.id):
        raise not_found(command.kind.value.lower())
    await uow.sources.map(source, command.kind, [(external_id, command.id)])
    await uow.instructions.wake(source.merchant_id, appeared(command.kind, [external_id]))
    await uow.instructions.settle()
    detail = f"{named(command.kind, external_id)} is {command.id}"
    await uow.audit.write(actor, "mapExternalId", command.source_id, source.merchant_id, detail)
