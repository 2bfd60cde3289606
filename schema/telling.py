"""What tills have still to be told of their stores' orders."""

from collections.abc import Sequence
from datetime import datetime

import strawberry

from db import telling as rows
from domain.outbound import OrderNews
from schema.roots import ID, Info

strawberry.enum(OrderNews, description="What there is to tell of an order, and of who brings it. CANCELLED: it will not be")


@strawberry.type
class UntoldNews:
    """One piece of news that its till has still to be told. The news of an order are told one after another."""

    order_id: ID
    order_number: str
    news: OrderNews
    since: datetime = strawberry.field(description="When it came up, or was last replayed")
    next_at: datetime = strawberry.field(description="It is not tried before, nor before what stands before it")
    attempts: int
    parked: bool = strawberry.field(description="It waits until all of its order is mapped: a MAPPING failure says what is not")
    message: str | None = strawberry.field(description="Why it has not been told yet, where it was tried")


@strawberry.type
class Untold:
    waiting: int = strawberry.field(description="Pieces of news, those that wait for a mapping among them")
    since: datetime | None = strawberry.field(description="Of the oldest")
    paused_until: datetime | None = strawberry.field(description="It does not answer, or has asked us to wait: not before then")
    message: str | None = strawberry.field(description="Why the last call failed; null once one went well")

    @strawberry.field(graphql_type=list[UntoldNews], description="Those that come first, at most 50")
    @staticmethod
    async def news(root: rows.Untold, info: Info) -> Sequence[rows.UntoldNews]:
        return await info.context.loaders.untold_news.load(root.source_id)
