"""The places things are brought to."""

from collections.abc import Sequence

import strawberry

from domain import addresses
from domain.identity import Role
from domain.places import PostalAddress
from resolvers import addresses as resolve
from schema.roots import ID, Allow, Info, Node, key, of
from schema.scalars import Point, PointInput, point


@strawberry.input
class AddressInput:
    line1: str
    line2: str | None = strawberry.UNSET
    city: str
    postal_code: str
    point: PointInput
    phone: str | None = strawberry.field(default=strawberry.UNSET, description="Of who is there, where it is not the customer")

    def place(self, path: str = "address") -> PostalAddress:
        """Refuses InvalidInput for a point that is none; the rest is `domain.addresses.checked`'s."""
        return PostalAddress(
            self.line1, self.line2 or None, self.city, self.postal_code, point(self.point, f"{path}.point"), self.phone or None
        )


@strawberry.type
class Address(Node):
    is_type_of = of(addresses.Address)
    line1: str
    line2: str | None
    city: str
    postal_code: str
    point: Point
    phone: str | None


@strawberry.type
class CustomerAddresses:
    """What `Customer` has of them."""

    @strawberry.field(graphql_type=list[Address], description="Those in use, the newest first")
    @staticmethod
    async def addresses(info: Info) -> Sequence[addresses.Address]:
        return await resolve.addresses_of(info.context)


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Address, extensions=[Allow(Role.CUSTOMER)])
    async def save_address(self, info: Info, input: AddressInput, id: ID | None = strawberry.UNSET) -> addresses.Address:
        """With an id: changes that one. Orders keep the address they were placed with."""
        return await resolve.save_address(info.context, key(id) if id else None, input.place("input"))

    @strawberry.mutation(extensions=[Allow(Role.CUSTOMER)])
    async def archive_address(self, info: Info, id: ID) -> bool:
        """Safe to repeat."""
        return await resolve.archive_address(info.context, key(id))
