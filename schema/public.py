"""Root fields whose answers are the same for whoever asks: what may be made once for many."""

from graphql import GraphQLField, GraphQLObjectType, get_named_type
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from schema.roots import Allow


def public_fields(root: GraphQLObjectType | None, marked: type[FieldExtension]) -> frozenset[str]:
    """By their names, those so marked. Refuses to start where anything below one of them is not for everybody."""
    found = {name: field for name, field in (root.fields.items() if root else ()) if _has(field, marked)}
    for name, field in found.items():
        _check_public(name, field, set())
    return frozenset(found)


def _check_public(name: str, field: GraphQLField, seen: set[GraphQLObjectType]) -> None:
    type_ = get_named_type(field.type)
    if not isinstance(type_, GraphQLObjectType) or type_ in seen:
        return
    seen.add(type_)
    for inner_name, inner in type_.fields.items():
        if _has(inner, Allow):
            raise TypeError(f"{name} cannot be shared: {type_.name}.{inner_name} is not for everybody")
        _check_public(name, inner, seen)


def _has(field: GraphQLField, extension: type[FieldExtension]) -> bool:
    known = field.extensions.get("strawberry-definition")
    return isinstance(known, StrawberryField) and any(isinstance(one, extension) for one in known.extensions)
