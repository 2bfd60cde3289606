"""The one way in for an operation, whichever door it came through."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from time import perf_counter
from typing import Any, Self

from graphql import GraphQLError, OperationType
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from domain import trace
from domain.figures import Figures
from domain.identity import Role
from domain.limits import check_limit, network_of
from domain.refusals import Refused, Unavailable
from schema.build import Schema
from schema.callers import Rules
from schema.documents import question
from schema.errors import Told, tell_all
from schema.guard import Asked, check_introspection
from schema.limits import refused
from schema.roots import Api
from schema.sharing import Encoded, NotBegun, Results, Sharing, encoded

UNKNOWN = "-"
"""The field of an operation that was never understood."""


@dataclass(frozen=True)
class Asking:
    """As read from a body or a frame: types are right, nothing else is known."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None

    @cached_property
    def question(self) -> bytes:
        return question(self.query, self.operation_name, self.variables or {})

    @cached_property
    def digest(self) -> bytes:
        return sha256(self.question).digest()


class Stopped(Exception):
    """The operation does not run."""

    def __init__(self, errors: Sequence[Told]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class Gate:
    """Size, syntax, shape, cost, budget, validity: in this order, so that the cheap refusals come first.

    Where introspection is off, errors suggest no names either.
    """

    def __init__(self, schema: Schema, figures: Figures, rules: Rules) -> None:
        self._schema = schema
        self._documents = schema.documents
        self._documents.suggestions = rules.introspection
        self._figures = figures
        self._rules = rules
        self._sharing = Sharing(schema)
        self._turns = asyncio.Semaphore(rules.queries)

    async def admit(self, context: Api, asking: Asking, kinds: Sequence[OperationType]) -> Asked:
        """What may run now; its cost is paid. Raises Stopped, told and logged."""
        started = perf_counter()
        trace.cause.set(str(context.actor))
        errors: list[GraphQLError]
        try:
            if not self._documents.knows(asking.query):  # to read it is work too, whatever comes of it
                await self._pay(context, len(asking.query) // 100)
            document = self._documents.read(asking.query)
            asked = document.ask(asking.operation_name)
            if asked.kind not in kinds:
                raise refused(f"a {asked.kind.value} cannot be asked this way")
            check_introspection(asked, self._rules.introspection or context.actor.role is Role.SUPPORT)
            await self._pay(context, asked.cost(asking.variables or {}))
            errors = document.errors
            self._documents.keep(document)
            if not errors:
                return asked
        except GraphQLError as error:
            errors = [error]
        except Refused as no:
            errors = [GraphQLError(str(no), original_error=no)]
        told = tell_all(errors, asking.query)
        self.count(None, told, started)
        raise Stopped(told)

    async def _pay(self, context: Api, cost: int) -> None:
        limits = context.ports.limits
        if context.actor.id is not None:
            await check_limit(limits, "cost by actor", str(context.actor.id), max(cost, 1))
        else:
            await check_limit(limits, "cost by address", network_of(context.remote), max(cost, 1))

    async def execute(self, context: Api, asking: Asking, asked: Asked) -> ExecutionResult:
        """A query or mutation that was admitted. What takes too long is cancelled, and its transaction rolled back.

        Queries take turns: a thousand at once leave connections, and the loop's attention, to who writes.
        """
        started = perf_counter()
        result: ExecutionResult
        try:
            turn = self._turns if asked.kind is OperationType.QUERY else nullcontext()
            async with asyncio.timeout(self._rules.deadline_s), turn:
                result = await self._schema.execute(asking.query, asking.variables, context, None, asking.operation_name)
        except TimeoutError:
            result = PreExecutionError(None, list(tell_all([_TOO_LONG], asking.query)))
        self.count(asked, result.errors, started)
        return result

    def follow(self, context: Api, asking: Asking, asked: Asked) -> "Followed":
        """The results of a subscription that was admitted. Whoever asks for them closes them."""
        shared = not self._sharing.fields.isdisjoint(asked.fields)
        return Followed(self, self._shared(context, asking) if shared else self._own(context, asking), asked)

    def cursor_variable(self, asking: Asking) -> str | None:
        """The variable by which a client says where it was."""
        return self._sharing.cursor_variable(self._documents.read(asking.query), asking.operation_name)

    def _shared(self, context: Api, asking: Asking) -> Results:
        document = self._documents.read(asking.query)
        return self._sharing.results(context, document, asking.operation_name, asking.variables or {})

    async def _own(self, context: Api, asking: Asking) -> AsyncGenerator[Encoded, None]:
        stream = await self._schema.stream(asking.query, asking.variables, context, None, asking.operation_name)
        async with aclosing(stream) as results:
            async for result in results:
                assert isinstance(result, ExecutionResult)  # nothing comes in parts: we have no @defer
                errors = tell_all(result.errors or [], asking.query)
                if isinstance(result, PreExecutionError):
                    raise Stopped(errors)
                yield encoded(result.data, errors)

    def feeds(self, change: int) -> None:
        self._figures.feeds(change)

    def count(self, asked: Asked | None, errors: Sequence[GraphQLError] | None, started: float) -> None:
        field = asked.fields[0] if asked and asked.fields else UNKNOWN
        code = errors[0].code if errors and isinstance(errors[0], Told) else "OK"
        self._figures.operation(field, code, perf_counter() - started)


class Followed:
    """Results of one subscription, encoded. They raise Stopped where none can come. It counts once, by its first result."""

    __slots__ = ("_asked", "_gate", "_open", "_results", "_started")

    def __init__(self, gate: Gate, results: Results | AsyncGenerator[Encoded, None], asked: Asked) -> None:
        self._gate = gate
        self._results = results
        self._asked: Asked | None = asked
        self._started = perf_counter()
        self._open = True
        gate.feeds(1)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Encoded:
        try:
            result = await anext(self._results)
        except NotBegun as no:
            self._count(no.errors)
            raise Stopped(no.errors) from None
        except Stopped as stopped:
            self._count(stopped.errors)
            raise
        self._count(result.errors)
        return result

    def _count(self, errors: Sequence[Told]) -> None:
        if self._asked is not None:
            self._gate.count(self._asked, errors, self._started)
            self._asked = None

    async def aclose(self) -> None:
        """Safe to repeat."""
        if self._open:
            self._open = False
            self._gate.feeds(-1)
            await self._results.aclose()

    def rest(self, write: Callable[[Encoded], bool], woken: Callable[[], None]) -> bool:
        """As `Results.rest`. What only one client is told does not rest."""
        return isinstance(self._results, Results) and self._results.rest(write, woken)


_TOO_LONG = GraphQLError("too long", original_error=Refused(Unavailable("this took too long: try again")))


def undone(result: ExecutionResult) -> bool:
    """Nothing was resolved: variables are read after validation, and what is wrong with them has no path."""
    return result.data is None and all(not error.path for error in result.errors or ())


def read_asking(told: Mapping[str, Any]) -> Asking:
    """Refuses InvalidInput where a member is missing or of another kind."""
    query, name, variables, extensions = (told.get(member) for member in ("query", "operationName", "variables", "extensions"))
    if not isinstance(query, str) or not query:
        raise refused("`query` must be a text")
    if not isinstance(name, str | None):
        raise refused("`operationName` must be a text or null")
    if not isinstance(variables, dict | None):
        raise refused("`variables` must be an object or null")
    if not isinstance(extensions, dict | None):
        raise refused("`extensions` must be an object or null")
    return Asking(query, name or None, variables)
