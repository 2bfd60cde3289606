"""What an operation would cost, before anything of it runs.

Everything is counted on the document with its fragments put in place, and each fragment is looked at once: linear,
however they are chained. No name is an exemption: introspection is what lies under `__schema` and `__type` of the
query root, wherever it is written.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FloatValueNode,
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
    ListValueNode,
    Node,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableNode,
    get_introspection_query,
    get_named_type,
    parse,
)
from graphql.type import SchemaMetaFieldDef, TypeMetaFieldDef

from domain.refusals import Forbidden, InvalidInput, Refused, TooCostly


@dataclass(frozen=True)
class Most:
    """What one document, and the operation asked of it, may have."""

    bytes: int = 16_384
    tokens: int = 1_000
    operations: int = 10
    fragments: int = 10
    spreads: int = 20
    inline: int = 40  # quoteCart's union has nine members, and four mutations may each name them all
    directives: int = 50
    aliases: int = 30
    # The deepest that a screen asks for is 10: merchant.orders.edges.node.delivery.order.lines.total.amount and the like.
    depth: int = 12
    mutations: int = 4
    repeats: int = 5  # of one field beside itself: whether they can be merged is asked for each pair
    values: int = 10  # nesting of a literal
    digits: int = 32
    cost: int = 5_000
    introspection_depth: int = 20


PAGE = 50
"""The most a page may have. More is the resolver's to refuse, and counted as what it says."""

LIST = 10
SIZES: dict[str, int] = {
    "Cart.lines": 20,
    "CartLine.modifiers": 4,
    "Customer.addresses": 5,
    "Listing.modifierGroups": 4,
    "Listing.siblings": 5,
    "ListingConnection.facets": 5,
    "Merchant.stores": 20,
    "ModifierGroup.options": 8,
    "Offer.deliveries": 3,
    "OfferFrame.offers": 5,
    "Order.charges": 5,
    "Purchase.orders": 3,
    "Query.categories": 50,
    "Quote.charges": 5,
    "Quote.parts": 3,
    "QuotePart.charges": 5,
    "Rider.offers": 5,
    "StockFrame.levels": 50,
    "Store.categories": 20,
    "Viewer.merchants": 3,
}
"""How long a list without `first` usually is: what is not named has LIST."""

WEIGHTS: dict[str, int] = {
    "Attribute": 0,  # of its row, as these are
    "Charge": 0,
    "Money": 0,
    "PageInfo": 0,
    "Point": 0,
    "ListingConnection.facets": 20,
    "Support.stockAudit": 100,  # each of ten: it sums the whole ledger
    "totalCount": 10,  # a statement of its own
}
"""What a type, a type's field, or a field of any type costs: an object is 1 and a plain value 0 where nothing is said."""

MUTATION = 10

INTROSPECTED: dict[str, int] = {
    "fields": 8, "inputFields": 5, "args": 2, "interfaces": 1, "possibleTypes": 4, "enumValues": 6, "directives": 8,
}  # fmt: skip
"""How long introspection's lists are for one type. `types` is counted in the schema itself."""


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


@dataclass(frozen=True)
class Asked:
    """One operation that is within the limits but for its cost, which its variables decide."""

    kind: OperationType
    name: str | None
    fields: tuple[str, ...]  # of the root, by the schema's names; without those of fragments
    introspects: bool
    cost: Callable[[Mapping[str, Any]], int]


class Guard:
    """The limits of one schema."""

    def __init__(self, schema: GraphQLSchema, most: Most = Most()) -> None:
        self.schema = schema
        self.most = most
        self.roots = {kind: schema.get_root_type(kind) for kind in OperationType}
        self.pages: set[str] = set()
        self.free: set[str] = set()
        for type_ in schema.type_map.values():
            if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
                self._note_pages(type_.fields)
        self.introspection_most = self._whole_introspection()

    def _note_pages(self, fields: Mapping[str, GraphQLField]) -> None:
        for field in fields.values():
            named = get_named_type(field.type)
            if "first" in field.args and isinstance(named, GraphQLObjectType) and "nodes" in named.fields:
                self.pages.add(named.name)
                self.free.add(named.name)
                if "edges" in named.fields:
                    self.free.add(get_named_type(named.fields["edges"].type).name)

    def _whole_introspection(self) -> int:
        """What the tools ask at most."""
        query = get_introspection_query(
            specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
        )
        document = parse(query)
        measured = Measuring(self, fragments_of(document), {}, {})
        operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
        return measured.operation(operation).introspection

    def check_text(self, query: str) -> None:
        """Before it is parsed. Refuses InvalidInput."""
        if len(query) > self.most.bytes or (not query.isascii() and len(query.encode(errors="replace")) > self.most.bytes):
            raise refused(f"the document is longer than {self.most.bytes} bytes")

    def check_document(self, document: DocumentNode) -> None:
        """What does not depend on the operation asked for. Refuses InvalidInput."""
        most = self.most
        counts = {"operation_definition": 0, "fragment_definition": 0, "fragment_spread": 0, "inline_fragment": 0, "directive": 0}
        for node in walk(document):
            if node.kind in counts:
                counts[node.kind] += 1
            elif isinstance(node, SelectionSetNode):
                self._check_repeats(node)
            elif isinstance(node, StringValueNode):
                if "\0" in node.value:
                    raise refused("a text with a NUL in it")
            elif isinstance(node, IntValueNode | FloatValueNode):
                if len(node.value) > most.digits:
                    raise refused("a number of too many digits")
            elif isinstance(node, ListValueNode | ObjectValueNode):
                check_nesting(node, most.values)
        for kind, allowed, name in (
            ("operation_definition", most.operations, "operations"),
            ("fragment_definition", most.fragments, "fragments"),
            ("fragment_spread", most.spreads, "spreads of fragments"),
            ("inline_fragment", most.inline, "inline fragments"),
            ("directive", most.directives, "directives"),
        ):
            if counts[kind] > allowed:
                raise refused(f"more than {allowed} {name}")

    def _check_repeats(self, selections: SelectionSetNode) -> None:
        seen: dict[str, int] = {}
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                key = (selection.alias or selection.name).value
                seen[key] = seen.get(key, 0) + 1
                if seen[key] > self.most.repeats:
                    raise refused(f"one field more than {self.most.repeats} times")

    def ask(self, document: DocumentNode, name: str | None) -> Asked:
        """The operation of that name, or the only one. Refuses InvalidInput."""
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if not operations:
            raise refused("the document has no operation")
        if name is None and len(operations) > 1:
            raise refused("the document has several operations: say which by operationName")
        found = [node for node in operations if name is None or (node.name is not None and node.name.value == name)]
        if not found:
            raise refused("the document has no operation of that name")
        operation = found[0]
        if self.roots[operation.operation] is None:
            raise refused(f"there is no {operation.operation.value} here")
        fragments = fragments_of(document)
        sizes = SizeVariables(operation)
        first = Measuring(self, fragments, sizes.defaults, {})
        measured = first.operation(operation)
        self._check(operation, measured)

        known: dict[tuple[object, ...], int] = {}

        def cost(variables: Mapping[str, Any]) -> int:
            """Refuses TooCostly."""
            given = tuple(_plain(variables.get(variable, ABSENT)) for variable in first.sized_by)
            if given not in known:
                if len(known) >= 32:
                    known.clear()
                again = Measuring(self, fragments, sizes.defaults, variables).operation(operation) if given else measured
                known[given] = again.fixed + again.introspection // 100
            if known[given] > self.most.cost:
                raise Refused(TooCostly(f"this costs {min(known[given], 10**9)}, at most {self.most.cost} may be asked at once"))
            return known[given]

        root = self.roots[operation.operation]
        assert root is not None
        return Asked(
            operation.operation,
            operation.name.value if operation.name else None,
            tuple(
                node.name.value
                for node in operation.selection_set.selections
                if isinstance(node, FieldNode) and node.name.value in root.fields
            ),
            introspects=measured.introspection > 0,
            cost=cost,
        )

    def _check(self, operation: OperationDefinitionNode, measured: Measure) -> None:
        most = self.most
        if measured.depth > most.depth:
            raise refused(f"nested deeper than {most.depth}")
        if measured.aliases > most.aliases:
            raise refused(f"more than {most.aliases} aliases")
        if operation.operation is OperationType.MUTATION and measured.fields > most.mutations:
            raise refused(f"more than {most.mutations} mutations")
        if measured.introspection_depth > most.introspection_depth:
            raise refused(f"introspection nested deeper than {most.introspection_depth}")
        if measured.introspection > self.introspection_most:
            raise Refused(TooCostly("introspection of more than the whole schema"))


def check_introspection(asked: Asked, allowed: bool) -> None:
    """Refuses Forbidden."""
    if asked.introspects and not allowed:
        raise Refused(Forbidden("introspection is off here"))


class SizeVariables:
    """The defaults of an operation's variables, where they are plain."""

    def __init__(self, operation: OperationDefinitionNode) -> None:
        self.defaults: dict[str, object] = {
            definition.variable.name.value: int(definition.default_value.value)
            for definition in operation.variable_definitions or ()
            if isinstance(definition.default_value, IntValueNode)
        }


class _Absent:
    pass


ABSENT = _Absent()


def _plain(value: object) -> object:
    """By which a cost is remembered."""
    return value if isinstance(value, int | _Absent) and not isinstance(value, bool) else None


class Measuring:
    """One walk over one operation, with one set of variables."""

    def __init__(
        self,
        guard: Guard,
        fragments: Mapping[str, FragmentDefinitionNode],
        defaults: Mapping[str, object],
        variables: Mapping[str, Any],
    ) -> None:
        self.guard = guard
        self.types = guard.schema.type_map
        self.fragments = fragments
        self.defaults = defaults
        self.variables = variables
        self.done: dict[str, Measure] = {}
        self.open: set[str] = set()
        self.sized_by: list[str] = []

    def operation(self, operation: OperationDefinitionNode) -> Measure:
        root = self.guard.roots[operation.operation]
        assert root is not None
        measured = self.selections(operation.selection_set, root.name, 0)
        if operation.operation is OperationType.MUTATION:
            measured.fixed += MUTATION * measured.fields
        return measured

    def selections(self, selections: SelectionSetNode, type_name: str, level: int) -> Measure:
        """`level` bounds our own stack alone: depth is measured on the way back, where fragments are in place."""
        if level > 4 * self.guard.most.introspection_depth:
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
        query = self.guard.roots[OperationType.QUERY]
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
        elif type_name in self.guard.pages and name in ("edges", "nodes"):
            measure.each += one
        else:
            own = size if "first" in field.args else SIZES.get(f"{type_name}.{name}", LIST)
            measure.fixed += one * own

    def introspected(self, selections: SelectionSetNode | None, type_name: str, level: int) -> Measure:
        """Costs by what our schema holds; in a budget of its own."""
        if level > 4 * self.guard.most.introspection_depth:
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
        return 0 if named.name in self.guard.free else WEIGHTS.get(named.name, 1)  # type: ignore[attr-defined]  # a composite type

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


def walk(document: DocumentNode) -> Iterator[Node]:
    """Every node, without recursion."""
    waiting: list[Node] = [document]
    while waiting:
        node = waiting.pop()
        yield node
        for key in node.keys:
            value = getattr(node, key, None)
            if isinstance(value, Node):
                if key != "loc":
                    waiting.append(value)
            elif isinstance(value, list | tuple):
                waiting += value


def check_nesting(value: ValueNode, most: int) -> None:
    level: list[ValueNode] = [value]
    for _ in range(most):
        below: list[ValueNode] = []
        for node in level:
            if isinstance(node, ListValueNode):
                below += node.values
            elif isinstance(node, ObjectValueNode):
                below += [field.value for field in node.fields]
        if not below:
            return
        level = below
    raise refused(f"a value nested deeper than {most}")


def refused(message: str) -> Refused:
    return Refused(InvalidInput(message))
