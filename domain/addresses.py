"""The places a customer has things brought to."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.identity import Actor, ActorKind, Phones
from domain.places import Point, PostalAddress
from domain.refusals import Forbidden, Refused, invalid, not_found
from domain.texts import line

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

MOST = 50  # a customer's addresses


@dataclass(frozen=True, slots=True)
class Address:
    """One of a customer's. `body` is what an order copies."""

    id: UUID
    body: PostalAddress

    @property
    def line1(self) -> str:
        return self.body.line1

    @property
    def line2(self) -> str | None:
        return self.body.line2

    @property
    def city(self) -> str:
        return self.body.city

    @property
    def postal_code(self) -> str:
        return self.body.postal_code

    @property
    def point(self) -> Point:
        return self.body.point

    @property
    def phone(self) -> str | None:
        return self.body.phone


class AddressStore(Protocol):
    async def add(self, address_id: UUID, customer_id: UUID, body: PostalAddress) -> None: ...

    async def count(self, customer_id: UUID) -> int:
        """Of those not archived."""

    async def change(self, address_id: UUID, actor: Actor, body: PostalAddress) -> bool:
        """False when it is not there, or not the actor's."""

    async def archive(self, address_id: UUID, actor: Actor) -> bool:
        """False when it is not there, or not the actor's. One archived before is archived."""


@dataclass(frozen=True)
class SaveAddress:
    """`id` None: a new one."""

    id: UUID | None
    body: PostalAddress


def checked(body: PostalAddress, phones: Phones, path: str) -> PostalAddress:
    """As it is kept: without blanks around the lines, the phone in E.164. The point is one already. Refuses InvalidInput."""
    phone = body.phone
    if phone is not None and phone.strip():
        phone = phones.e164(phone)
        if phone is None:
            raise invalid(f"{path}.phone", "is no telephone number")
    return replace(
        body,
        line1=line(f"{path}.line1", body.line1, 200),
        line2=line(f"{path}.line2", body.line2, 200, least=0) or None if body.line2 is not None else None,
        city=line(f"{path}.city", body.city, 100),
        postal_code=line(f"{path}.postalCode", body.postal_code, 12),
        phone=phone or None,
    )


async def save_address(command: SaveAddress, actor: Actor, uow: "UnitOfWork") -> UUID:
    """`command.body` is checked. Refuses NotFound, InvalidInput."""
    customer_id = _customer(actor)
    if command.id is not None:
        if not await uow.addresses.change(command.id, actor, command.body):
            raise not_found("address")
        return command.id
    await uow.identity.lock(customer_id)  # two saves at once are counted one after the other
    if await uow.addresses.count(customer_id) >= MOST:
        raise invalid("input", f"at most {MOST} addresses: archive one first")
    address_id = uow.new_id()
    await uow.addresses.add(address_id, customer_id, command.body)
    return address_id


async def archive_address(address_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """Orders keep their copy. Safe to repeat. Refuses NotFound."""
    if not await uow.addresses.archive(address_id, actor):
        raise not_found("address")


def _customer(actor: Actor) -> UUID:
    if actor.kind is not ActorKind.CUSTOMER or actor.id is None:
        raise Refused(Forbidden("customers alone"))
    return actor.id
