"""A provider's connection to a merchant: its secrets, and which of its ids are which of ours."""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain import proofs
from domain.identity import Actor, MerchantRole, Seals, check_merchant_role
from domain.intake import EntityKind, Family, Inbound
from domain.proofs import Proof, Strategy
from domain.refusals import InvalidInput, Problem, Refused, invalid, not_found

if TYPE_CHECKING:
    from domain.judgement import Standing
    from domain.unit_of_work import UnitOfWork

Place = tuple[UUID, UUID]  # a store, and what it may sell
GRACE = timedelta(hours=24)  # so long an older secret is good beside a new one
LIVE_SECRETS = 5
MOST_GRACE, MOST_AHEAD = timedelta(days=30), timedelta(days=30)


@dataclass(frozen=True)
class NewSecret:
    """A URL's token is found by its hash; any other secret must be read again, and is sealed."""

    hash: bytes | None = field(default=None, repr=False)
    sealed: bytes | None = field(default=None, repr=False)
    not_before: datetime | None = None


@dataclass(frozen=True)
class NewSource:
    id: UUID
    merchant_id: UUID
    provider: str
    family: Family
    proof: Proof | None = None  # None: its provider's


@dataclass(frozen=True)
class LockedSource:
    id: UUID
    merchant_id: UUID
    provider: str
    family: Family


class SourceStore(Protocol):
    async def add(self, source: NewSource) -> None: ...

    async def add_secret(self, id: UUID, source_id: UUID, secret: NewSecret) -> None: ...

    async def retire_secrets(self, source_id: UUID, from_: datetime, not_after: datetime, keep: int) -> None:
        """Before one that is good from `from_`: those that are live end by `not_after`, the newest of them just then, and all but
        the `keep` newest at `from_`. Those that were still to come never do."""

    async def set(
        self,
        source_id: UUID,
        enabled: bool | None,
        ip_allow: Sequence[str] | None,
        proof: Proof | None,
        *,
        usual_proof: bool,
        may_create: bool | None,
    ) -> None:
        """What is None stays."""

    async def lock(self, source_id: UUID, actor: Actor) -> LockedSource | None:
        """If the actor may see it."""

    async def find(self, merchant_id: UUID, provider: str) -> UUID | None:
        """The merchant's oldest source of this provider."""

    async def merchant_of(self, source_id: UUID) -> UUID: ...

    async def seen(self, source_id: UUID) -> None:
        """Notes that it lives."""

    async def owned(self, merchant_id: UUID, kind: EntityKind, id: UUID) -> bool:
        """Whether this thing of ours is the merchant's (a category is everybody's)."""

    async def meant(self, merchant_id: UUID, kind: EntityKind, told: Collection[str]) -> Mapping[str, Sequence[UUID]]:
        """Which things of the merchant's each of these names: by its id, a variant by SKU or barcode too (with more or fewer
        zeros before it), a product by those of its variants, a store by its slug, a category by its path. Several, where it is
        several's."""

    async def map(self, source: LockedSource, kind: EntityKind, ids: Sequence[tuple[str, UUID]]) -> None:
        """An external id that was mapped before means this from now on."""

    async def sizes(self, source_id: UUID, size_ids: Mapping[str, str | None]) -> None:
        """What the source calls the sizes alone, by the mapped ids of variants. None leaves what is there."""

    async def mapped(self, source_id: UUID, kind: EntityKind, external_ids: Collection[str]) -> Mapping[str, UUID]: ...

    async def formed(self, source_id: UUID, options: Collection[str]) -> Mapping[str, Sequence[UUID]]:
        """The variants that each of these options makes of items: see `domain.canonical.formed`."""

    async def all_mapped(self, source_id: UUID, kind: EntityKind) -> Mapping[str, UUID]: ...

    async def listed(self, places: Collection[Place]) -> Mapping[Place, UUID]:
        """(store id, variant id) -> listing id."""

    async def listed_products(
        self, places: Collection[tuple[UUID, UUID]]
    ) -> Mapping[tuple[UUID, UUID], Sequence[tuple[UUID, UUID]]]:
        """(store id, product id) -> (variant id, listing id) of each of its listings there."""

    async def standing(self, source_id: UUID, store_id: UUID) -> Sequence["Standing"]:
        """What the store shows of what this source has told of."""

    async def store_of_slug(self, slug: str) -> tuple[UUID, UUID] | None:
        """(store id, merchant id)"""


async def connect_source(
    merchant_id: UUID,
    provider: str,
    family: Family,
    secret: NewSecret,
    actor: Actor,
    uow: "UnitOfWork",
    proof: Proof | None = None,
) -> UUID:
    """For owners, managers and support. Every call connects one more. Refuses NotFound, Forbidden, InvalidInput."""
    check_proof(proof)
    await check_merchant_role(merchant_id, actor, uow, MerchantRole.OWNER, MerchantRole.MANAGER)
    if not await uow.sources.owned(merchant_id, EntityKind.MERCHANT, merchant_id):
        raise not_found("merchant")
    source_id = uow.new_id()
    await uow.sources.add(NewSource(source_id, merchant_id, provider, family, proof))
    await uow.sources.add_secret(uow.new_id(), source_id, secret)
    await uow.audit.write(actor, "connectSource", source_id, merchant_id, provider)
    return source_id


async def rotate_secret(
    source_id: UUID, secret: NewSecret, actor: Actor, uow: "UnitOfWork", grace: timedelta = GRACE
) -> LockedSource:
    """One secret more; those before it are good for `grace` after it is. Refuses NotFound, InvalidInput."""
    source = await uow.sources.lock(source_id, actor)
    if source is None:
        raise not_found("source")
    now = await uow.now()
    if not timedelta() <= grace <= MOST_GRACE:
        raise invalid("graceMinutes", f"is between 0 and {MOST_GRACE // timedelta(minutes=1)}")
    if secret.not_before is not None and secret.not_before > now + MOST_AHEAD:
        raise invalid("notBefore", f"is at most {MOST_AHEAD.days} days ahead")
    begins = max(now, secret.not_before or now)
    await uow.sources.retire_secrets(source_id, begins, begins + grace, LIVE_SECRETS - 1)
    await uow.sources.add_secret(uow.new_id(), source_id, secret)
    await uow.audit.write(actor, "rotateSourceSecret", source_id, source.merchant_id, source.provider)
    return source


def check_proof(proof: Proof | None) -> None:
    """Refuses InvalidInput, for all that is wrong with it."""
    wrong = proofs.problems(proof) if proof is not None else ()
    if wrong:
        raise Refused(InvalidInput("; ".join(f"{one.path} {one.message}" for one in wrong), tuple(wrong)))


SECRET_CHARACTERS = range(16, 513)


def check_given(proof: Proof, secret: str) -> None:
    """A secret that the provider has made, or the merchant. Refuses InvalidInput."""
    if proof.strategy is Strategy.URL_TOKEN:
        raise invalid("secret", "is made here where it is a part of the URL")
    if len(secret) not in SECRET_CHARACTERS:
        raise invalid("secret", f"has {SECRET_CHARACTERS.start} to {SECRET_CHARACTERS.stop - 1} characters")
    if not (secret.isascii() and secret.isprintable()) or secret != secret.strip():
        raise invalid("secret", "has ASCII characters alone, and no blanks around them")
    try:
        proofs.key_of(proof, secret)
    except ValueError as error:
        raise invalid("secret", f"is none of Standard Webhooks, whsec_…: {error}") from error


@dataclass(frozen=True)
class SetSource:
    """What is None stays as it is."""

    source_id: UUID
    enabled: bool | None = None
    ip_allow: Sequence[str] | None = None  # empty: from anywhere
    proof: Proof | None = None
    usual_proof: bool = False  # its provider's again
    may_create: bool | None = None


MOST_NETWORKS = 100


async def set_source(command: SetSource, actor: Actor, uow: "UnitOfWork") -> None:
    """For owners, managers and support. Safe to repeat. Refuses NotFound, InvalidInput."""
    proof = proofs.lower(command.proof) if command.proof else None
    check_proof(proof)
    allowed = networks(command.ip_allow) if command.ip_allow is not None else None
    source = await uow.sources.lock(command.source_id, actor)
    if source is None:
        raise not_found("source")
    said: list[str] = []
    if command.enabled is not None:
        said.append("enabled" if command.enabled else "disabled")
    if allowed is not None:
        said.append(f"from {', '.join(allowed) or 'anywhere'}")
    if proof is not None or command.usual_proof:
        said.append(f"proof {_told(proof) if proof else 'as usual'}")
    if command.may_create is not None:
        said.append("may create" if command.may_create else "may not create")
    if not said:
        return
    await uow.sources.set(
        source.id, command.enabled, allowed, proof, usual_proof=command.usual_proof, may_create=command.may_create
    )
    await uow.audit.write(actor, "setSource", source.id, source.merchant_id, "; ".join(said))


def _told(proof: Proof) -> str:
    """All of it, for the audit: nothing of a proof is secret."""
    return " ".join(str(getattr(value, "value", value)) for one in fields(proof) if (value := getattr(proof, one.name)))


def networks(told: Sequence[str]) -> Sequence[str]:
    """As they are kept: `10.1.0.0/16`, an address by itself as `10.1.2.3/32`. Refuses InvalidInput, for all that are none."""
    wrong, found = [], []
    for index, one in enumerate(told):
        try:
            found.append(str(ipaddress.ip_network(one.strip())))
        except ValueError as error:
            wrong.append(Problem(f"ipAllow.{index}", str(error)))
    if len(told) > MOST_NETWORKS:
        wrong.append(Problem("ipAllow", f"has at most {MOST_NETWORKS} networks"))
    if wrong:
        raise Refused(InvalidInput("; ".join(f"{one.path}: {one.message}" for one in wrong), tuple(wrong)))
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- what a provider is told, once


def kept_secret(proof: Proof, shown: str, seals: Seals) -> NewSecret:
    """`shown` as people copy it. ValueError for what is no secret of this proof."""
    if proof.strategy is Strategy.URL_TOKEN:
        return NewSecret(hash=proofs.token_hash(shown))
    return NewSecret(sealed=seals.seal(proofs.key_of(proof, shown)))


MASKED = "***"


def endpoints(inbound: Inbound, proof: Proof, url: str, source_id: UUID, secret: str = MASKED) -> Mapping[str, str]:
    """Full URLs by the provider's names of the doors. Of URL_TOKEN the secret is a part of them."""
    before = f"{url}/v1/integrations/{inbound.family.value}/{inbound.provider}"
    if proof.strategy is Strategy.URL_TOKEN:
        return {name: f"{before}/{secret}/{path}" for name, path in inbound.endpoints.items()}
    return {name: f"{before}/{path}?source={source_id}" for name, path in inbound.endpoints.items()}
