"""Who is believed: of a store's counts, switches, prices or status the one source whose word stands, where its merchant says which.

Where nobody is named everybody is believed, and the later word stands. What a merchant's people do by hand is the word of a source
too: of the merchant's dashboard, to which no door leads.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.identity import Actor, MerchantRole, check_merchant_role
from domain.refusals import Kind, Problem, Refusal, Refused, invalid, not_found, refuse

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

DASHBOARD = "dashboard"  # a provider of no file
MOST_RULES = 200


class Field(Enum):
    """As `told` names them."""

    STOCK = "STOCK"  # counts
    AVAILABILITY = "AVAILABILITY"  # on and off
    PRICE = "PRICE"  # with the MRP and the packaging, not with taxes
    STATUS = "STATUS"  # of the store itself


Place = tuple[UUID, Field]  # a store, and a field of what is its own


@dataclass(frozen=True)
class NotSourceOfTruth(Refusal):
    """Another is believed. What is to be changed is changed there, or the rule is."""

    code, kind = "NOT_SOURCE_OF_TRUTH", Kind.CONFLICT
    field: Field
    source_id: UUID
    provider: str


@dataclass(frozen=True)
class Rule:
    """Who is believed: a source, or the merchant's dashboard. With neither: everybody."""

    store_id: UUID
    field: Field
    source_id: UUID | None = None
    dashboard: bool = False


@dataclass(frozen=True, slots=True)
class Believed:
    source_id: UUID
    provider: str


class TruthStore(Protocol):
    """Who is believed changes while nobody writes by it: writers hold it together, who changes it holds it alone.

    It is held to the end of the transaction, and taken before the lock of any row that it decides about.
    """

    async def hold_of_listing(self, listing_id: UUID) -> None: ...

    async def hold_of_store(self, store_id: UUID) -> None: ...

    async def hold_alone(self, merchant_id: UUID) -> None: ...

    async def believed(self, places: Collection[Place]) -> Mapping[Place, Believed]:
        """Where a rule says who."""

    async def dashboard(self, merchant_id: UUID) -> UUID:
        """Its source, made now or before."""

    async def speakers(self, merchant_id: UUID, source_ids: Collection[UUID]) -> Mapping[UUID, tuple[str, Collection[UUID]]]:
        """Of those that are the merchant's: the provider, and the stores it is mapped to."""

    async def set(self, merchant_id: UUID, rules: Mapping[Place, UUID | None]) -> None:
        """None: everybody is believed there."""

    async def heard(self, source_id: UUID, field: Field, entity_id: UUID) -> None:
        """Writes down that this source has told it now: of what is told by hand."""


async def by_hand(field: Field, store_id: UUID, merchant_id: UUID, uow: "UnitOfWork") -> UUID:
    """The source whose word it is that somebody at the dashboard says: the merchant's dashboard. Refuses NotSourceOfTruth.

    In a transaction that has begun by holding who is believed.
    """
    believed = (await uow.truth.believed([(store_id, field)])).get((store_id, field))
    if believed is not None and believed.provider != DASHBOARD:
        message = f"{believed.provider} is believed about the {field.value.lower()} of this store"
        raise Refused(NotSourceOfTruth(message, field, believed.source_id, believed.provider))
    return await uow.truth.dashboard(merchant_id)


async def set_sources_of_truth(merchant_id: UUID, rules: Sequence[Rule], actor: Actor, uow: "UnitOfWork") -> None:
    """For owners, managers and support: all or none. Waits for what is being written by the rules before, and settles the conflicts
    for which the new ones leave no room. Safe to repeat. Refuses NotFound, Forbidden, InvalidInput.
    """
    if not 1 <= len(rules) <= MOST_RULES:
        raise invalid("rules", f"has 1 to {MOST_RULES} of them")
    await check_merchant_role(merchant_id, actor, uow, MerchantRole.OWNER, MerchantRole.MANAGER)
    await _check(merchant_id, rules, uow)
    await uow.truth.hold_alone(merchant_id)
    before = await uow.truth.believed([(rule.store_id, rule.field) for rule in rules])
    dashboard = await uow.truth.dashboard(merchant_id) if any(rule.dashboard for rule in rules) else None
    after = {(rule.store_id, rule.field): dashboard if rule.dashboard else rule.source_id for rule in rules}
    changed = {place: told for place, told in after.items() if told != (before[place].source_id if place in before else None)}
    if not changed:
        return
    await uow.truth.set(merchant_id, changed)
    await uow.conflicts.ruled(changed)
    for (store_id, field), told in changed.items():
        was = before.get((store_id, field))
        detail = f"{field.value}: {f'source:{was.source_id}' if was else 'everybody'} → {f'source:{told}' if told else 'everybody'}"
        await uow.audit.write(actor, "setSourcesOfTruth", store_id, merchant_id, detail)


async def _check(merchant_id: UUID, rules: Sequence[Rule], uow: "UnitOfWork") -> None:
    """Refuses NotFound, InvalidInput."""
    stores = {rule.store_id for rule in rules}
    if stores != await uow.identity.stores_among(merchant_id, list(stores)):
        raise not_found("store")
    asked = {rule.source_id for rule in rules if rule.source_id is not None}
    speakers = await uow.truth.speakers(merchant_id, asked) if asked else {}
    if asked != speakers.keys():
        raise not_found("source")
    problems, seen = [], set[Place]()
    for index, rule in enumerate(rules):
        place = (rule.store_id, rule.field)
        if place in seen:
            problems.append(Problem(f"rules.{index}", "says again who is believed there"))
        seen.add(place)
        if rule.source_id is None:
            continue
        provider, spoken_of = speakers[rule.source_id]
        if rule.dashboard:
            problems.append(Problem(f"rules.{index}.dashboard", "or a source: one of them is believed"))
        elif provider != DASHBOARD and rule.store_id not in spoken_of:
            problems.append(Problem(f"rules.{index}.sourceId", "does not speak of this store yet: map it first"))
    refuse(problems)
