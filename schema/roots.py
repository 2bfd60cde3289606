"""What every type here leans on: who may, how an id is read, how a row is known as a type."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from strawberry.extensions import FieldExtension, SchemaExtension
from strawberry.schema_directive import Location
from strawberry.types import StreamExecutionResult
from strawberry.types.field import StrawberryField
from strawberry.types.union import StrawberryUnion

from domain.identity import Role
from domain.refusals import Forbidden, Refused, Unauthenticated, invalid
from resolvers.context import Context
from subscriptions.following import Following


@dataclass(frozen=True)
class Api(Context):
    """The context of a GraphQL operation: resolvers' own, and the hub for feeds."""

    hub: Following = field(kw_only=True)


Info = strawberry.Info[Api, None]
ID = strawberry.ID
Told = TypeVar("Told")


def key(id: str, path: str = "id") -> UUID:
    """An id that is no UUID refuses InvalidInput, not INTERNAL."""
    try:
        return UUID(id)
    except ValueError:
        raise invalid(path, "not an id") from None


def given(told: Told | None) -> Told | None:
    """What was said: None where nothing was, and where null was."""
    return None if told is strawberry.UNSET else told


def of(*rows: type) -> Callable[[object, object], bool]:
    """`is_type_of` of a type that is a Node, a Refusal or in a union: how strawberry knows our plain dataclass."""
    return lambda value, info: isinstance(value, rows)


strawberry.enum(Role)


@strawberry.schema_directive(locations=[Location.FIELD_DEFINITION])
class Access:
    roles: list[Role]


class Allow(FieldExtension):
    """Prints @access and keeps it: one list says both."""

    def __init__(self, *roles: Role) -> None:
        if not roles:
            raise ValueError("a guard with nothing to check refuses to start")
        self.roles = frozenset(roles)
        self.order = list(roles)

    def apply(self, field: StrawberryField) -> None:
        # Once, also where a second schema is made of these types.
        others = [one for one in field.directives if not isinstance(one, Access)]
        field.directives = [*others, Access(roles=self.order)]

    def check(self, context: Api) -> None:
        """Refuses Unauthenticated, Forbidden."""
        if Role.PUBLIC in self.roles or context.actor.role in self.roles:
            return
        raise Refused(Unauthenticated("sign in") if context.actor.kind is None else Forbidden("not in this app"))

    def resolve(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        self.check(info.context)
        return next_(source, info, **arguments)

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        self.check(info.context)
        return await next_(source, info, **arguments)


class Shared(FieldExtension):
    """Of a subscription whose frames are the same for whoever asks for them: schema/sharing.py makes each of them once."""

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        return await next_(source, info, **arguments)


class Cached(FieldExtension):
    """Of a query whose answer is the same for whoever asks, and tagged by its resolvers: schema/cache.py keeps it."""

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        return await next_(source, info, **arguments)


class Answers(FieldExtension):
    """A refusal that the field's union names is its answer; any other goes on to errors[]."""

    def apply(self, field: StrawberryField) -> None:
        assert isinstance(field.type, StrawberryUnion)
        self._members = [member.is_type_of for member in field.type.types]  # type: ignore[attr-defined]  # fails at start where one is missing

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        try:
            return await next_(source, info, **arguments)
        except Refused as refused:
            if any(member(refused.refusal, info) for member in self._members):
                return refused.refusal
            raise


@strawberry.interface
class Node:
    id: ID


@strawberry.interface
class Refusal:
    code: str
    message: str


class FreshLoaders(SchemaExtension):
    """A socket keeps one context for its life; what was loaded lives for one operation, or one event."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.context = self.execution_context.context.fresh()
        yield

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        yield
        self.execution_context.context.loaders.forget()
