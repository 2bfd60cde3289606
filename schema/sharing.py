"""One execution for many watchers: frames of a shared field are executed and encoded once for all who ask the same of them.

The same is: the document, the operation's name and the variables, but for the cursor that `after` brings.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary

import msgspec
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution import Executor as CoreExecutor
from graphql.execution import create_source_event_stream, execute_subscription_event
from graphql.pyutils import is_awaitable

from domain.identity import ANYBODY
from schema.build import Schema
from schema.documents import Document, question
from schema.errors import Told, tell_all
from schema.plain import Executor
from schema.public import public_fields
from schema.roots import Api, Shared
from subscriptions.sharing import Watcher

KEPT = 16
"""Encoded frames of an execution, those asked for last: everybody's latest, what new watchers are given, and of who lags."""
AFTER = "after"


def shared_fields(schema: Schema) -> frozenset[str]:
    """By their names."""
    return public_fields(schema._schema.subscription_type, Shared)


class Encoded:
    """One result as the client gets it, and what is wrong in it."""

    __slots__ = ("_before", "_text_frame", "body", "errors")

    def __init__(self, body: bytes, errors: Sequence[Told]) -> None:
        self.body = body
        self.errors = errors
        self._before = self._text_frame = b""

    @property
    def payload(self) -> str:
        return self.body.decode()

    def text_frame(self, before: bytes) -> bytes:
        """As a frame of a WebSocket, the body between `before` and a brace: one object for all whose `before` is the same."""
        if before != self._before or not before:
            self._before, self._text_frame = before, text_frame(before, self.body, b"}")
        return self._text_frame


def text_frame(*parts: bytes) -> bytes:
    """A server's, whole and unmasked, as RFC 6455 §5.2 says it."""
    size = sum(map(len, parts))
    if size < 126:
        head = bytes((0x81, size))
    elif size < 65_536:
        head = b"\x81\x7e" + size.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + size.to_bytes(8, "big")
    return b"".join((head, *parts))


def encoded(data: Any, errors: Sequence[Told]) -> Encoded:
    result: dict[str, Any] = {"data": data}
    if errors:
        result["errors"] = [error.formatted for error in errors]
    return Encoded(msgspec.json.encode(result, enc_hook=str), errors)


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

    def results(self, context: Api, document: Document, name: str | None, variables: Mapping[str, Any]) -> "Results":
        """Each frame, executed and encoded. The first raises NotBegun."""
        return Results(self, partial(self._begin, context, document, name, variables))

    async def _begin(
        self, context: Api, document: Document, name: str | None, variables: Mapping[str, Any]
    ) -> tuple[AsyncGenerator[object, None] | Watcher[Any, Any], "Execution"]:
        own = self._executor(context.fresh(), document, name, variables)
        begun: Any = create_source_event_stream(own)
        source: AsyncGenerator[object, None] | ExecutionResult = await begun if is_awaitable(begun) else begun
        if isinstance(source, ExecutionResult):
            raise NotBegun(tell_all(source.errors or [], document.query))
        cursor = self.cursor_variable(document, name)
        others = {key: value for key, value in variables.items() if key != cursor}
        key = question(document.query, name, others)
        execution = self._executions.get(key)
        if execution is None:
            anybody = replace(context, actor=ANYBODY, remote="").fresh()
            execution = Execution(key, self._executor(anybody, document, name, variables), anybody, document.query)
            self._executions[key] = execution
        execution.watchers += 1
        return source, execution

    def leave(self, execution: "Execution") -> None:
        execution.watchers -= 1
        if not execution.watchers and self._executions.get(execution.key) is execution:
            del self._executions[execution.key]

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


class Results:
    """One client's. Nothing is asked before its first, and whoever asks closes it."""

    __slots__ = ("_begin", "_execution", "_sharing", "_source")

    def __init__(
        self,
        sharing: Sharing,
        begin: Callable[[], Awaitable[tuple[AsyncGenerator[object, None] | Watcher[Any, Any], "Execution"]]],
    ) -> None:
        self._sharing = sharing
        self._begin: Callable[[], Awaitable[Any]] | None = begin
        self._source: AsyncGenerator[object, None] | Watcher[Any, Any] | None = None
        self._execution: Execution | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Encoded:
        if self._begin is not None:
            begin, self._begin = self._begin, None
            self._source, self._execution = await begin()
        if self._source is None or self._execution is None:
            raise StopAsyncIteration
        try:
            return await self._execution.of(await anext(self._source))
        except StopAsyncIteration:
            await self.aclose()
            raise
        except Exception as error:
            told = self._execution.encoded(ExecutionResult(None, [GraphQLError(str(error), original_error=error)]))
            await self.aclose()
            return told

    async def aclose(self) -> None:
        """Safe to repeat, and while none is awaited."""
        self._begin = None
        source, self._source = self._source, None
        execution, self._execution = self._execution, None
        if source is not None and execution is not None:
            self._sharing.leave(execution)
            await source.aclose()

    def rest(self, write: Callable[[Encoded], bool], woken: Callable[[], None]) -> bool:
        """As a Watcher's: from here on what everybody is told is written. No other source can rest."""
        source, execution = self._source, self._execution
        return execution is not None and isinstance(source, Watcher) and source.rest(Resting(execution, write, woken))


class Resting:
    """A client to whom all is written, as a Watcher asks for it."""

    __slots__ = ("_execution", "_write", "woken")

    def __init__(self, execution: "Execution", write: Callable[[Encoded], bool], woken: Callable[[], None]) -> None:
        self._execution = execution
        self._write = write
        self.woken = woken

    def offer(self, frame: object, /) -> bool:
        told = self._execution.now(frame)
        return told is not None and self._write(told)


class Execution:
    """What all who ask the same are told."""

    def __init__(self, key: bytes, executor: CoreExecutor[Any], context: Api, query: str) -> None:
        self.key = key
        self.watchers = 0
        self._executor = executor
        self._context = context
        self._query = query
        self._kept: dict[int, tuple[object, Encoded | asyncio.Task[Encoded]]] = {}

    async def of(self, frame: object) -> Encoded:
        made = self._made(frame)
        return await asyncio.shield(made) if isinstance(made, asyncio.Task) else made

    def now(self, frame: object) -> Encoded | None:
        """None where it must be waited for, or cannot be made: `of` says why."""
        known = self._kept.get(id(frame))
        try:
            made = known[1] if known is not None else self._made(frame)
        except Exception:
            return None
        return None if isinstance(made, asyncio.Task) else made

    def _made(self, frame: object) -> Encoded | asyncio.Task[Encoded]:
        known = self._kept.pop(id(frame), None)
        if known is None:
            result: Any = execute_subscription_event(self._executor.build_per_event_executor(frame))
            made = asyncio.create_task(self._later(result)) if is_awaitable(result) else self.encoded(result)
            known = (frame, made)  # with the frame: its id is no other's for so long
            if len(self._kept) == KEPT:
                del self._kept[next(iter(self._kept))]
        self._kept[id(frame)] = known  # at the end: it is in use
        return known[1]

    async def _later(self, result: Any) -> Encoded:
        return self.encoded(await result)

    def encoded(self, result: ExecutionResult) -> Encoded:
        self._context.loaders.forget()
        return encoded(result.data, tell_all(result.errors or [], self._query))
