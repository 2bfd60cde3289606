"""Documents as they are kept between requests: parsed, within the limits, and validated once."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, specified_rules, validate
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from schema.guard import Asked, Guard
from schema.limits import refused

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
"""As strawberry validates."""
ERRORS_MOST = 10
KEPT_CHARACTERS = 500_000
"""Of query text; a parsed document takes some hundred times as much memory."""


class Document:
    def __init__(self, query: str, node: DocumentNode, schema: GraphQLSchema, guard: Guard, suggestions: bool) -> None:
        self.query = query
        self.node = node
        self.size = len(query)
        self.hash = hash_of(query)
        self._schema = schema
        self._guard = guard
        self._suggestions = suggestions
        self._asked: dict[str | None, Asked] = {}
        self._errors: list[GraphQLError] | None = None

    def ask(self, name: str | None) -> Asked:
        """Refuses InvalidInput, TooCostly."""
        if name not in self._asked:
            self._asked[name] = self._guard.ask(self.node, name)
        return self._asked[name]

    @property
    def errors(self) -> list[GraphQLError]:
        """What validation says. A list of the caller's own."""
        if self._errors is None:
            self._errors = validate(self._schema, self.node, RULES, max_errors=ERRORS_MOST, hide_suggestions=not self._suggestions)
        return list(self._errors)


class Documents:
    """The latest valid documents. What is not valid is not kept: who sends rubbish pays for it alone."""

    def __init__(self, schema: GraphQLSchema, guard: Guard) -> None:
        self.guard = guard
        self.suggestions = True
        self._schema = schema
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def knows(self, query: str) -> bool:
        return query in self._kept

    def read(self, query: str) -> Document:
        """Raises GraphQLError for what is no GraphQL; refuses InvalidInput for what is beyond a limit."""
        found = self._kept.get(query)
        if found is not None:
            self._kept.move_to_end(query)
            return found
        self.guard.check_text(query)
        try:
            node = parse(query, max_tokens=self.guard.most.tokens)
        except RecursionError:
            raise refused("nested too deep") from None
        self.guard.check_document(node)
        return Document(query, node, self._schema, self.guard, self.suggestions)

    def keep(self, query: str, document: Document) -> None:
        if query in self._kept:
            return
        self._kept[query] = document
        self._characters += document.size
        while self._characters > KEPT_CHARACTERS:
            self._characters -= self._kept.popitem(last=False)[1].size


class Prepared(SchemaExtension):
    """Gives strawberry the document as we have it, so that nothing is parsed or validated twice."""

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        documents: Documents = context.schema.documents  # type: ignore[attr-defined]  # schema/build.py has them
        if context.query:
            self.document = documents.read(context.query)
            context.graphql_document = self.document.node
        yield

    def on_validate(self) -> Iterator[None]:
        self.execution_context.pre_execution_errors = self.document.errors
        yield


def question(query: str, name: str | None, variables: Mapping[str, Any]) -> bytes:
    """The same for the same question, in whatever order its variables came. Numbers may be of any size."""
    return json.dumps((query, name, variables), sort_keys=True, separators=(",", ":")).encode()


def hash_of(query: str) -> str:
    """By which logs name a document, as its text may hold anything."""
    return sha256(query.encode(errors="replace")).hexdigest()[:12]
