"""Plain fields, read without ceremony. Most of an answer is attributes of rows, as they are: names, amounts, states.

For each of them graphql-core makes a path, a resolver's `info` and some ten calls; here it is one look-up, one getattr and
the type's own serialization. Whatever does not come out at once goes the whole way after all, so what is refused, and how
it is told, is graphql-core's word alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, cast

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    Undefined,
)
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

TYPENAME = "__typename"


class Leaf(NamedTuple):
    """A field whose value is an attribute, and what serializes it."""

    attribute: str
    nullable: bool
    written: Callable[[Any], Any]


class Part(NamedTuple):
    """A field whose value is an attribute too: an object of this type, or a list of such objects."""

    attribute: str
    nullable: bool
    type: GraphQLObjectType
    many: bool


@cache
def plain_fields(type_: GraphQLObjectType) -> Mapping[str, Leaf | Part]:
    """By name; those of the type that no resolver, extension or permission stands before."""
    found = {name: _plain(field) for name, field in type_.fields.items()}
    return {name: plain for name, plain in found.items() if plain is not None}


def _plain(field: GraphQLField) -> Leaf | Part | None:
    known = field.extensions.get("strawberry-definition")
    if not isinstance(known, StrawberryField) or not known.is_basic_field or known.extensions or field.args:
        return None
    nullable = not isinstance(field.type, GraphQLNonNull)
    inner: Any = field.type if nullable else field.type.of_type  # type: ignore[union-attr]
    match inner:
        case GraphQLScalarType() | GraphQLEnumType():
            return Leaf(known.python_name, nullable, inner.coerce_output_value)
        case GraphQLList(of_type=GraphQLNonNull(of_type=GraphQLScalarType() as scalar)):
            return Leaf(known.python_name, nullable, _each(scalar.coerce_output_value))
        case GraphQLObjectType():
            return Part(known.python_name, nullable, inner, many=False)
        case GraphQLList(of_type=GraphQLNonNull(of_type=GraphQLObjectType() as item)):
            return Part(known.python_name, nullable, item, many=True)
        case _:
            return None


def _each(written: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def every(values: Any) -> Any:
        if not isinstance(values, list | tuple) or None in values:
            return Undefined
        texts = [written(value) for value in values]
        return Undefined if None in texts or Undefined in texts else texts

    return every


class Executor(StrawberryGraphQLCoreExecutionContext):
    """For strawberry's `execution_context_class`. Reading ahead does nothing but read: it may be given up at any point."""

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: dict[str, Any],
        position_context: Any,
    ) -> Any:
        results = self._read(parent_type, source_value, grouped_field_set)
        rest = {name: details for name, details in grouped_field_set.items() if results[name] is Undefined}
        if not rest:
            return results
        more = super().execute_fields(parent_type, source_value, path, rest, position_context)
        return _later(results, more) if self.is_awaitable(more) else _joined(results, cast(dict[str, Any], more))

    def _read(self, type_: GraphQLObjectType, source: Any, fields: dict[str, Any]) -> dict[str, Any]:
        """All of them in their order, Undefined where it is not that plain."""
        plain = plain_fields(type_)
        results: dict[str, Any] = {}
        for name, details in fields.items():
            field = details[0].node.name.value
            reader = plain.get(field)
            if reader is not None:
                try:
                    results[name] = self._value(reader, getattr(source, reader.attribute), details)
                except Exception:  # it comes again, and is told, the whole way
                    results[name] = Undefined
            else:
                results[name] = type_.name if field == TYPENAME else Undefined
        return results

    def _value(self, reader: Leaf | Part, value: Any, details: Any) -> Any:
        if value is None:
            return None if reader.nullable else Undefined
        if isinstance(reader, Leaf):
            written = reader.written(value)
            return Undefined if written is None else written
        if not reader.many:
            return self._object(reader.type, value, details)
        if not isinstance(value, list | tuple):
            return Undefined
        items = []
        for one in value:
            item = self._object(reader.type, one, details)
            if item is Undefined:
                return Undefined
            items.append(item)
        return items

    def _object(self, type_: GraphQLObjectType, value: Any, details: Any) -> Any:
        """Undefined where anything in it is not plain."""
        if value is None or (type_.is_type_of is not None and type_.is_type_of(value, cast(Any, None)) is not True):
            return Undefined
        fields, deferred, _ = self.collect_subfields(type_, details)
        if deferred or not fields.keys():
            return Undefined
        plain = plain_fields(type_)
        if not all(details[0].node.name.value in plain or details[0].node.name.value == TYPENAME for details in fields.values()):
            return Undefined
        results = self._read(type_, value, fields)
        return Undefined if Undefined in results.values() else results


async def _later(results: dict[str, Any], more: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return _joined(results, await more)


def _joined(results: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """In the order of the query. What even the whole way does not know is left out, as graphql-core leaves it out."""
    results.update(more)
    return {name: value for name, value in results.items() if value is not Undefined}
