"""One execution for many watchers: frames of a shared field are executed and encoded once for all who ask the same of them.

The same is: the document, the operation's name and the variables, but for the cursor that `after` brings.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    get_named_type,
    visit,
)
from graphql.execution import Executor as CoreExecutor
from graphql.execution import create_source_event_stream, execute_subscription_event
from graphql.pyutils import is_awaitable
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from domain.identity import ANYBODY
from schema.build import Schema
from schema.documents import Document
from schema.errors import Told, tell_all
from schema.plain import Executor
from schema.roots import Allow, Api, Shared

KEPT = 16
"""Encoded frames of an execution, those asked for last: everybody's latest, what new watchers are given, and of who lags."""
AFTER = "after"


def shared_fields(schema: Schema) -> frozenset[str]:
    """By their names. Refuses to start where anything below one of them is not for everybody."""
    root = schema._schema.subscription_type
    found = {name: field for name, field in (root.fields.items() if root else ()) if _has(field, Shared)}
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


@dataclass(frozen=True, slots=True)
class Encoded:
    """One result as the client gets it, and what is wrong in it."""

    payload: str
    errors: Sequence[Told]


def encoded(data: Any, errors: Sequence[Told]) -> Encoded:
    result: dict[str, Any] = {"data": data}
    if errors:
        result["errors"] = [error.formatted for error in errors]
    return Encoded(msgspec.json.encode(result, enc_hook=str).decode(), errors)


class NotBegun(Exception):
    """There is no source to follow; why is told."""

    def __init__(self, errors: list[Told]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class Sharing:
    """All executions of a process that have watchers now."""

    def __init__(self, schema: Schema) -> None:
        self.fields = shared_fields(schema)
        self._schema = schema._schema
        self._executions: dict[bytes, Execution] = {}
        self._cursors: WeakKeyDictionary[Document, dict[str | None, str | None]] = WeakKeyDictionary()

    async def results(
        self, context: Api, document: Document, name: str | None, variables: Mapping[str, Any]
    ) -> AsyncGenerator[Encoded, None]:
        """Each frame, executed and encoded. Raises NotBegun."""
        own = self._executor(context.fresh(), document, name, variables)
        begun: Any = create_source_event_stream(own)
        source: AsyncGenerator[object, None] | ExecutionResult = await begun if is_awaitable(begun) else begun
        if isinstance(source, ExecutionResult):
            raise NotBegun(tell_all(source.errors or [], document.query))
        cursor = self.cursor_variable(document, name)
        others = {key: value for key, value in variables.items() if key != cursor}
        key = msgspec.json.encode((document.query, name, others), order="deterministic")
        execution = self._executions.get(key)
        if execution is None:
            anybody = replace(context, actor=ANYBODY, remote="").fresh()
            execution = Execution(self._executor(anybody, document, name, variables), anybody, document.query)
            self._executions[key] = execution
        execution.watchers += 1
        try:
            async with aclosing(source) as frames:
                async for frame in frames:
                    yield await execution.of(frame)
        except Exception as error:
            yield execution.encoded(ExecutionResult(None, [GraphQLError(str(error), original_error=error)]))
        finally:
            execution.watchers -= 1
            if not execution.watchers and self._executions.get(key) is execution:
                del self._executions[key]

    def _executor(self, context: Api, document: Document, name: str | None, variables: Mapping[str, Any]) -> CoreExecutor[Any]:
        built = Executor.build(self._schema, document.node, None, context, dict(variables), name)
        if isinstance(built, list):
            raise NotBegun(tell_all(built, document.query))
        return built

    def cursor_variable(self, document: Document, name: str | None) -> str | None:
        names = self._cursors.setdefault(document, {})
        if name not in names:
            names[name] = cursor_variable(document, name)
        return names[name]


def cursor_variable(document: Document, name: str | None) -> str | None:
    """The variable that is `after` of the root field, and nothing else."""
    seen: list[str] = []

    class Variables(Visitor):
        def enter_variable(self, node: VariableNode, *_: Any) -> None:
            seen.append(node.name.value)

    for one in document.node.definitions:
        parts = (one.selection_set, *(one.directives or ())) if isinstance(one, OperationDefinitionNode) else (one,)
        for part in parts:
            visit(part, Variables())
    for one in document.node.definitions:
        if isinstance(one, OperationDefinitionNode) and (name is None or (one.name and one.name.value == name)):
            for field in one.selection_set.selections:
                for argument in (field.arguments or ()) if isinstance(field, FieldNode) else ():
                    if argument.name.value == AFTER and isinstance(argument.value, VariableNode):
                        variable = argument.value.name.value
                        return variable if seen.count(variable) == 1 else None
    return None


class Execution:
    """What all who ask the same are told."""

    def __init__(self, executor: CoreExecutor[Any], context: Api, query: str) -> None:
        self.watchers = 0
        self._executor = executor
        self._context = context
        self._query = query
        self._kept: dict[int, tuple[object, Encoded | asyncio.Task[Encoded]]] = {}

    async def of(self, frame: object) -> Encoded:
        known = self._kept.get(id(frame))
        if known is None:
            result: Any = execute_subscription_event(self._executor.build_per_event_executor(frame))
            made = asyncio.create_task(self._later(result)) if is_awaitable(result) else self.encoded(result)
            self._kept[id(frame)] = known = (frame, made)  # with the frame: its id is no other's for so long
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        else:
            self._kept[id(frame)] = self._kept.pop(id(frame))  # to the end: it is in use
        if isinstance(known[1], asyncio.Task):
            return await asyncio.shield(known[1])
        return known[1]

    async def _later(self, result: Any) -> Encoded:
        return self.encoded(await result)

    def encoded(self, result: ExecutionResult) -> Encoded:
        self._context.loaders.forget()
        return encoded(result.data, tell_all(result.errors or [], self._query))
