"""The places a customer has things brought to."""

from collections.abc import Sequence
from uuid import UUID

from db import addresses as rows
from domain import addresses
from domain.addresses import Address
from domain.places import PostalAddress
from domain.refusals import not_found
from resolvers.context import Context


async def addresses_of(context: Context) -> Sequence[Address]:
    """The customer's own, the newest first."""
    return await rows.addresses(context.reads, context.actor)


async def save_address(context: Context, address_id: UUID | None, place: PostalAddress) -> Address:
    """Refuses InvalidInput, NotFound."""
    command = addresses.SaveAddress(address_id, addresses.checked(place, context.ports.phones, "input"))
    async with context.unit_of_work() as uow:
        saved_id = await addresses.save_address(command, context.actor, uow)
    address = await rows.address_by_id(context.reads, context.actor, saved_id)
    if address is None:  # archived by another of the customer's devices in between
        raise not_found("address")
    return address


async def archive_address(context: Context, address_id: UUID) -> bool:
    """Safe to repeat. Refuses NotFound."""
    async with context.unit_of_work() as uow:
        await addresses.archive_address(address_id, context.actor, uow)
    return True
