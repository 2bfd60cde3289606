"""Documents as they are kept between requests: parsed, within the limits, and validated once."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, specified_rules, validate
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from schema.guard import Asked, Guard
from schema.limits import refused

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
"""As strawberry validates."""
ERRORS_MOST = 10
KEPT_CHARACTERS, WRONG_CHARACTERS = 500_000, 50_000
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
    """The latest documents. Those that are not valid have a shelf of their own: rubbish displaces only rubbish, and an app whose
    query has grown old is refused at no more than the price of a look.

    Those who send the same at the same time share it from the start, so that a crowd's new document is validated once.
    """

    def __init__(self, schema: GraphQLSchema, guard: Guard) -> None:
        self.guard = guard
        self.suggestions = True
        self._schema = schema
        self._valid = Shelf(KEPT_CHARACTERS)
        self._wrong = Shelf(WRONG_CHARACTERS)
        self._in_use: WeakValueDictionary[str, Document] = WeakValueDictionary()

    def knows(self, query: str) -> bool:
        """As valid."""
        return query in self._valid

    def read(self, query: str) -> Document:
        """Raises GraphQLError for what is no GraphQL; refuses InvalidInput for what is beyond a limit."""
        found = self._valid.get(query) or self._wrong.get(query) or self._in_use.get(query)
        if found is not None:
            return found
        self.guard.check_text(query)
        try:
            node = parse(query, max_tokens=self.guard.most.tokens)
        except RecursionError:
            raise refused("nested too deep") from None
        self.guard.check_document(node)
        document = Document(query, node, self._schema, self.guard, self.suggestions)
        self._in_use[query] = document
        return document

    def keep(self, document: Document) -> None:
        """Once it is known what validation says."""
        (self._wrong if document.errors else self._valid).put(document)


class Shelf:
    """What was looked at last, up to so many characters of text."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def __contains__(self, query: str) -> bool:
        return query in self._kept

    def get(self, query: str) -> Document | None:
        found = self._kept.get(query)
        if found is not None:
            self._kept.move_to_end(query)
        return found

    def put(self, document: Document) -> None:
        if document.query in self._kept:
            return
        self._kept[document.query] = document
        self._characters += document.size
        while self._characters > self._most:
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
