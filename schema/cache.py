"""Public queries: executed as anybody, encoded once, and answered again from what is kept."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple
from weakref import WeakKeyDictionary

from graphql import FieldNode, OperationDefinitionNode
from strawberry.types import ExecutionResult

from domain.figures import BYPASS, HIT, MISS
from domain.identity import ANYBODY
from resolvers.cache import Tags
from schema.build import Schema
from schema.decoding import read_object
from schema.documents import Document
from schema.gate import Asking, Gate, read_asking
from schema.guard import Asked
from schema.public import public_fields
from schema.roots import Api, Cached
from subscriptions.cache import KEPT_S, Answer, Cache

READ, READ_BYTES = 1_000, 4_096
"""So many bodies are known again, none longer than this."""


class Erred(Exception):
    """What came is for who asked, and nobody keeps it."""

    def __init__(self, result: ExecutionResult) -> None:
        super().__init__()
        self.result = result


class Kept(NamedTuple):
    """What anybody may be told, and how it was come by: HIT, MISS or BYPASS."""

    answer: Answer
    outcome: str


class Public:
    """Answers those queries all of whose root fields are marked Cached."""

    def __init__(self, schema: Schema, gate: Gate, cache: Cache, encode: Callable[[ExecutionResult], bytes]) -> None:
        self.fields = public_fields(schema._schema.query_type, Cached)
        self._documents = schema.documents
        self._gate = gate
        self._cache = cache
        self._encode = encode
        self._read: OrderedDict[bytes, Asking] = OrderedDict()
        self._known: WeakKeyDictionary[Document, dict[str | None, bool]] = WeakKeyDictionary()
        self._version = sha256(schema.as_str().encode()).digest()  # of another version of us no answer is taken

    def read(self, body: bytes) -> Asking:
        """What was asked before in the very same bytes is not read again. Only what is public: of the rest no byte is kept.

        Raises NotReadable; refuses InvalidInput.
        """
        found = self._read.get(body)
        if found is not None:
            self._read.move_to_end(body)
            return found
        asking = read_asking(read_object(body))
        if len(body) <= READ_BYTES and self._documents.knows(asking.query) and self.takes(asking):
            self._read[body] = asking
            if len(self._read) > READ:
                self._read.popitem(last=False)
        return asking

    def takes(self, asking: Asking) -> bool:
        """Of one that was admitted."""
        document = self._documents.read(asking.query)
        known = self._known.setdefault(document, {})
        if asking.operation_name not in known:
            known[asking.operation_name] = self._is_public(document, asking.operation_name)
        return known[asking.operation_name]

    def _is_public(self, document: Document, name: str | None) -> bool:
        for one in document.node.definitions:
            if isinstance(one, OperationDefinitionNode) and (name is None or (one.name and one.name.value == name)):
                asked = one.selection_set.selections
                return all(isinstance(field, FieldNode) and field.name.value in self.fields for field in asked)
        return False

    async def answer(self, context: Api, asking: Asking, asked: Asked) -> Kept:
        """Raises Erred."""
        started = time.perf_counter()
        key = self._version + asking.digest
        found = self._cache.kept(key)
        if found is not None:
            self._gate.count(asked, None, started)
            return Kept(found, HIT)
        outcome = HIT if self._cache.believed else BYPASS

        async def make() -> Answer:
            nonlocal outcome
            outcome = MISS if outcome == HIT else outcome
            tags = Tags()
            result = await self._gate.execute(replace(context, actor=ANYBODY, remote="", tags=tags), asking, asked)
            if result.errors:
                raise Erred(result)
            made_at = time.time()
            until = made_at + KEPT_S if tags.until is None else min(made_at + KEPT_S, tags.until.timestamp())
            return Answer(self._encode(result), tuple(tags.names), until, made_at)

        answer = await self._cache.answer(key, make)
        if outcome == HIT:  # made by another, who counted it as theirs
            self._gate.count(asked, None, started)
        return Kept(answer, outcome)
