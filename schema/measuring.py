"""What one operation would cost and how deep it goes, counted without running anything of it.

Everything is counted with the fragments put in place, and each fragment is looked at once: linear, however they are
chained. No name is an exemption: introspection is what lies under `__schema` and `__type` of the query root, wherever it
is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    IntValueNode,
    NullValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
)
from graphql.type import SchemaMetaFieldDef, TypeMetaFieldDef

from schema.limits import INTROSPECTED, LIST, MUTATION, PAGE, SIZES, WEIGHTS, refused


@dataclass(slots=True)
class Measure:
    """Of one selection set, with its fragments in place.

    Its cost is `fixed`, and `each` once more for each entry of the page it is on.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0  # of this level alone
    fixed: int = 0
    each: int = 0
    introspection: int = 0
    introspection_depth: int = 0

    def add(self, other: "Measure", below: bool) -> None:
        """`below` a field, whose cost is the field's own to reckon."""
        self.depth = max(self.depth, other.depth + (1 if below else 0))
        self.aliases += other.aliases
        self.introspection += other.introspection
        self.introspection_depth = max(self.introspection_depth, other.introspection_depth)
        if not below:
            self.fields += other.fields
            self.fixed += other.fixed
            self.each += other.each


class Priced:
    """What of one schema decides a cost: its types, and which of them are pages."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.types = schema.type_map
        self.roots = {kind: schema.get_root_type(kind) for kind in OperationType}
        self.pages: set[str] = set()
        self.free: set[str] = set()
        for type_ in schema.type_map.values():
            if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
                self._note_pages(type_.fields)

    def _note_pages(self, fields: Mapping[str, GraphQLField]) -> None:
        for field in fields.values():
            named = get_named_type(field.type)
            if "first" in field.args and isinstance(named, GraphQLObjectType) and "nodes" in named.fields:
                self.pages.add(named.name)
                self.free.add(named.name)
                if "edges" in named.fields:
                    self.free.add(get_named_type(named.fields["edges"].type).name)


class SizeVariables:
    """The defaults of an operation's variables, where they are plain."""

    def __init__(self, operation: OperationDefinitionNode) -> None:
        self.defaults: dict[str, object] = {
            definition.variable.name.value: int(definition.default_value.value)
            for definition in operation.variable_definitions or ()
            if isinstance(definition.default_value, IntValueNode)
        }


class Measuring:
    """One walk over one operation, with one set of variables. Refuses InvalidInput below `deepest` levels of our own stack."""

    def __init__(
        self,
        priced: Priced,
        deepest: int,
        fragments: Mapping[str, FragmentDefinitionNode],
        defaults: Mapping[str, object],
        variables: Mapping[str, Any],
    ) -> None:
        self.priced = priced
        self.types = priced.types
        self.deepest = deepest
        self.fragments = fragments
        self.defaults = defaults
        self.variables = variables
        self.done: dict[str, Measure] = {}
        self.open: set[str] = set()
        self.sized_by: list[str] = []

    def operation(self, operation: OperationDefinitionNode) -> Measure:
        root = self.priced.roots[operation.operation]
        assert root is not None
        measured = self.selections(operation.selection_set, root.name, 0)
        if operation.operation is OperationType.MUTATION:
            measured.fixed += MUTATION * measured.fields
        return measured

    def selections(self, selections: SelectionSetNode, type_name: str, level: int) -> Measure:
        """`level` bounds our own stack alone: depth is measured on the way back, where fragments are in place."""
        if level > self.deepest:
            raise refused("nested too deep")
        measure = Measure()
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                self.field(selection, type_name, level, measure)
            elif isinstance(selection, FragmentSpreadNode):
                measure.add(self.fragment(selection.name.value, level), below=False)
            else:
                condition = selection.type_condition  # type: ignore[attr-defined]  # the third kind of selection
                inner = condition.name.value if condition else type_name
                measure.add(self.selections(selection.selection_set, inner, level + 1), below=False)  # type: ignore[attr-defined]
        return measure

    def fragment(self, name: str, level: int) -> Measure:
        if name not in self.done:
            definition = self.fragments.get(name)
            if name in self.open:
                raise refused("a fragment spreads itself")
            if definition is None:
                return Measure()  # validation says so
            self.open.add(name)
            self.done[name] = self.selections(definition.selection_set, definition.type_condition.name.value, level + 1)
            self.open.discard(name)
        return self.done[name]

    def field(self, node: FieldNode, type_name: str, level: int, measure: Measure) -> None:
        name = node.name.value
        measure.fields += 1
        measure.aliases += 1 if node.alias else 0
        query = self.priced.roots[OperationType.QUERY]
        if query is not None and type_name == query.name and name in ("__schema", "__type"):
            meta = SchemaMetaFieldDef if name == "__schema" else TypeMetaFieldDef
            inner = self.introspected(node.selection_set, get_named_type(meta.type).name, level + 1)
            measure.aliases += inner.aliases
            measure.introspection += 1 + inner.introspection
            measure.introspection_depth = max(measure.introspection_depth, 1 + inner.introspection_depth)
            return
        type_ = self.types.get(type_name)
        field = type_.fields.get(name) if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) else None
        if field is None:  # validation says so, or it is __typename
            if node.selection_set is not None:
                measure.add(self.selections(node.selection_set, "", level + 1), below=True)
            measure.depth = max(measure.depth, 1)
            return
        named = get_named_type(field.type)
        inner = self.selections(node.selection_set, named.name, level + 1) if node.selection_set is not None else Measure()
        measure.add(inner, below=True)
        size = self.size(node, field)
        one = self.weight(type_name, name, named) + inner.fixed + inner.each * size
        if not is_list(field):
            measure.fixed += one
        elif type_name in self.priced.pages and name in ("edges", "nodes"):
            measure.each += one
        else:
            own = size if "first" in field.args else SIZES.get(f"{type_name}.{name}", LIST)
            measure.fixed += one * own

    def introspected(self, selections: SelectionSetNode | None, type_name: str, level: int) -> Measure:
        """Costs by what our schema holds; in a budget of its own."""
        if level > self.deepest:
            raise refused("nested too deep")
        measure = Measure()
        if selections is None:
            return measure
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                name = selection.name.value
                inner = self.introspected(selection.selection_set, "", level + 1)
                size = len(self.types) if name == "types" else INTROSPECTED.get(name, 1)
                measure.aliases += inner.aliases + (1 if selection.alias else 0)
                measure.introspection += size * (1 + inner.introspection)
                measure.introspection_depth = max(measure.introspection_depth, 1 + inner.introspection_depth)
            else:
                if isinstance(selection, FragmentSpreadNode):
                    inner = self.introspected_fragment(selection.name.value, level)
                else:
                    inner = self.introspected(selection.selection_set, "", level + 1)  # type: ignore[attr-defined]
                measure.aliases += inner.aliases
                measure.introspection += inner.introspection
                measure.introspection_depth = max(measure.introspection_depth, inner.introspection_depth)
        return measure

    def introspected_fragment(self, name: str, level: int) -> Measure:
        key = f"introspected {name}"
        if key not in self.done:
            definition = self.fragments.get(name)
            if key in self.open:
                raise refused("a fragment spreads itself")
            if definition is None:
                return Measure()
            self.open.add(key)
            self.done[key] = self.introspected(definition.selection_set, "", level + 1)
            self.open.discard(key)
        return self.done[key]

    def weight(self, type_name: str, name: str, named: object) -> int:
        by_field = WEIGHTS.get(f"{type_name}.{name}", WEIGHTS.get(name))
        if by_field is not None:
            return by_field
        if isinstance(named, GraphQLScalarType | GraphQLEnumType):
            return 0
        return 0 if named.name in self.priced.free else WEIGHTS.get(named.name, 1)  # type: ignore[attr-defined]  # a composite type

    def size(self, node: FieldNode, field: GraphQLField) -> int:
        """How many entries a page will have at most: the literal, the variable, its default, the argument's default."""
        if "first" not in field.args:
            return PAGE
        for argument in node.arguments or ():
            if argument.name.value == "first":
                return self.told(argument.value, field)
        return as_size(field.args["first"].default_value)

    def told(self, value: ValueNode, field: GraphQLField) -> int:
        if isinstance(value, VariableNode):
            name = value.name.value
            if name not in self.sized_by:
                self.sized_by.append(name)
            if name in self.variables:
                return as_size(self.variables[name])
            return as_size(self.defaults.get(name, field.args["first"].default_value))
        if isinstance(value, IntValueNode):
            return as_size(int(value.value))
        return PAGE if isinstance(value, NullValueNode) else as_size(None)


def as_size(told: object) -> int:
    """What is no number is refused later, and counted as a whole page. None is less than one."""
    return max(told, 1) if isinstance(told, int) and not isinstance(told, bool) else PAGE


def is_list(field: GraphQLField) -> bool:
    type_ = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    return isinstance(type_, GraphQLList)


def fragments_of(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
