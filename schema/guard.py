"""What a document may ask: checked before anything of it runs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    get_introspection_query,
    parse,
)

from domain.refusals import Forbidden, Refused, TooCostly
from schema.limits import Most, refused
from schema.measuring import Measure, Measuring, Priced, SizeVariables, fragments_of


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
        self.most = most
        self.priced = Priced(schema)
        self.introspection_most = self._whole_introspection()

    def _whole_introspection(self) -> int:
        """What the tools ask at most."""
        query = get_introspection_query(
            specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
        )
        document = parse(query)
        measured = self._measuring(fragments_of(document), {}, {})
        operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
        return measured.operation(operation).introspection

    def _measuring(
        self, fragments: Mapping[str, FragmentDefinitionNode], defaults: Mapping[str, object], variables: Mapping[str, Any]
    ) -> Measuring:
        return Measuring(self.priced, 4 * self.most.introspection_depth, fragments, defaults, variables)

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
        if self.priced.roots[operation.operation] is None:
            raise refused(f"there is no {operation.operation.value} here")
        fragments = fragments_of(document)
        sizes = SizeVariables(operation)
        first = self._measuring(fragments, sizes.defaults, {})
        measured = first.operation(operation)
        self._check(operation, measured)

        known: dict[tuple[object, ...], int] = {}

        def cost(variables: Mapping[str, Any]) -> int:
            """Refuses TooCostly."""
            given = tuple(_plain(variables.get(variable, ABSENT)) for variable in first.sized_by)
            if given not in known:
                if len(known) >= 32:
                    known.clear()
                again = self._measuring(fragments, sizes.defaults, variables).operation(operation) if given else measured
                known[given] = again.fixed + again.introspection // 100
            if known[given] > self.most.cost:
                raise Refused(TooCostly(f"this costs {min(known[given], 10**9)}, at most {self.most.cost} may be asked at once"))
            return known[given]

        root = self.priced.roots[operation.operation]
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


class _Absent:
    pass


ABSENT = _Absent()


def _plain(value: object) -> object:
    """By which a cost is remembered."""
    return value if isinstance(value, int | _Absent) and not isinstance(value, bool) else None


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
