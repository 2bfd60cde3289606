"""Lists as Relay reads them. `Connection[Store]` prints as StoreConnection, over the rows of db/pages.py.

A list with more to it than its pages is a class of its own: `class OrderConnection(Connection[Order], Counted)`.
"""

from typing import Any, Generic, TypeVar

import strawberry

from db import pages
from schema.roots import Info

NodeType = TypeVar("NodeType")


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool = strawberry.field(description="Whether the list was asked for from a cursor on")
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[NodeType]):
    cursor: str
    node: NodeType


@strawberry.type
class Connection(Generic[NodeType]):
    edges: list[Edge[NodeType]]
    nodes: list[NodeType]
    page_info: PageInfo


@strawberry.type
class Counted:
    """What a connection has that can be counted."""

    @strawberry.field
    @staticmethod
    async def total_count(root: pages.Page[Any], info: Info) -> int:
        """On all pages together. A statement of its own: it costs nothing when not asked for."""
        return await pages.total(info.context.reads, root)
