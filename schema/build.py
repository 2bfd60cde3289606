import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from schema import errors
from schema.documents import Documents, Prepared
from schema.guard import Guard
from schema.plain import Executor
from schema.roots import FreshLoaders
from schema.scalars import SCALARS


class Schema(strawberry.Schema):
    """Strawberry's, with documents read and guarded our way, and errors told our way."""

    documents: Documents

    def process_errors(self, errors_: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        errors.process(errors_, execution_context)


def build(query: type, mutation: type | None = None, subscription: type | None = None) -> Schema:
    schema = Schema(
        query,
        mutation,
        subscription,
        extensions=[Prepared, FreshLoaders],
        execution_context_class=Executor,
        config=StrawberryConfig(scalar_map=SCALARS, relay_max_results=50),
    )
    schema.documents = Documents(schema._schema, Guard(schema._schema))
    return schema
