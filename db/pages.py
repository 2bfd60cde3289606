"""Lists a page at a time, by keyset: a page begins after the last row of the one before, wherever that row is by now."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Row, Select, Subquery, and_, false, func, literal, or_, select, tuple_

from db.reads import Reads
from domain.refusals import Refused, invalid

Node = TypeVar("Node")
FIRST, MOST = 20, 50


@dataclass(frozen=True, slots=True)
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True)
class Edge(Generic[Node]):
    cursor: str
    node: Node


@dataclass(frozen=True, slots=True)
class Page(Generic[Node]):
    edges: Sequence[Edge[Node]]
    page_info: PageInfo
    whole: Select[Any]  # the list without its pages, for who asks how long it is

    @property
    def nodes(self) -> Sequence[Node]:
        return [edge.node for edge in self.edges]


class By(NamedTuple):
    """One column of a sort. Never null; the last column of a sort is unique."""

    column: ColumnElement[Any]
    descending: bool = False


def size(first: int | None) -> int:
    """Refuses InvalidInput for what is not from 1 to 50."""
    if first is None:
        return FIRST
    if not 1 <= first <= MOST:
        raise invalid("first", f"must be from 1 to {MOST}")
    return first


async def page(
    reads: Reads,
    statement: Select[Any],
    sort: Sequence[By],
    to_row: Callable[[Row[*tuple[Any, ...]]], Node],
    first: int | None,
    after: str | None,
    name: str = "",
    details: Callable[[Subquery], Select[Any]] | None = None,
) -> Page[Node]:
    """One statement for the rows of a page and one more. `name` tells sorts of like types apart: a cursor is good for its own.

    `statement` brings neither order nor limit, nor groups. `details` reads in full what it has picked, joined to it: where a
    row comes from many tables, these are asked for the rows of the page alone. Refuses InvalidInput.
    """
    count, start = size(first), _start(after, sort, name)
    keyed = statement.add_columns(*(by.column.label(f"key_{place}") for place, by in enumerate(sort)))
    if start is not None:
        keyed = keyed.where(_beyond(sort, start))
    keyed = keyed.order_by(*(by.column.desc() if by.descending else by.column.asc() for by in sort)).limit(count + 1)
    if details is not None:
        picked = keyed.subquery("picked")
        keys = [picked.c[f"key_{place}"] for place in range(len(sort))]
        keyed = details(picked).add_columns(*keys)
        keyed = keyed.order_by(*(key.desc() if by.descending else key.asc() for key, by in zip(keys, sort, strict=True)))
    found = await reads.rows(keyed)
    edges = [Edge(cursor((name, *row[-len(sort) :])), to_row(row)) for row in found[:count]]
    info = PageInfo(
        has_next_page=len(found) > count,
        has_previous_page=start is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Page(edges, info, statement)


def slice_of(
    nodes: Sequence[Node],
    keys: Callable[[Node], tuple[Any, ...]],
    sort: Sequence[By],
    first: int | None,
    after: str | None,
    name: str,
) -> Page[Node]:
    """A page of what is worked out anew each time, and stands in the order of its keys already. `sort` says of what types they
    are: ascending, the last one unique. Refuses InvalidInput."""
    count, start = size(first), _start(after, sort, name)
    begins = 0 if start is None else bisect_right(nodes, tuple(start), key=keys)
    some = nodes[begins : begins + count]
    edges = [Edge(cursor((name, *keys(node))), node) for node in some]
    info = PageInfo(
        has_next_page=begins + count < len(nodes),
        has_previous_page=start is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Page(edges, info, select(literal(len(nodes))))


def empty(statement: Select[Any]) -> Page[Any]:
    """Where nothing can be found, without asking."""
    return Page((), PageInfo(False, False, None, None), statement.where(false()))


async def total(reads: Reads, page: Page[Any]) -> int:
    """How many there are on all pages together. A statement of its own: asked only by who wants it."""
    return int(await reads.value(page.whole.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)))


# ---------------------------------------------------------------- cursors


def cursor(keys: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(keys)).rstrip(b"=").decode()


def _start(after: str | None, sort: Sequence[By], name: str) -> list[Any] | None:
    """The keys the page begins after. Refuses InvalidInput for a cursor that is broken, or of another list."""
    if after is None:
        return None
    try:
        raw = base64.b64decode(after + "=" * (-len(after) % 4), altchars=b"-_", validate=True)
        told, *keys = msgspec.json.decode(raw, type=list[Any])
        if told != name or len(keys) != len(sort):
            raise ValueError
        return [_key(value, by) for value, by in zip(keys, sort, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error, msgspec.MsgspecError):
        raise _broken() from None


def _key(value: Any, by: By) -> Any:
    """Only what the column's type can be compared with: the rest would fail in the driver."""
    kind = by.column.type.python_type
    key = msgspec.convert(value, kind)
    match key:
        case bool():
            return key
        case int() if not -(2**63) <= key < 2**63:
            raise ValueError
        case int() if not isinstance(by.column.type, BigInteger) and not -(2**31) <= key < 2**31:
            raise ValueError
        case str() if "\0" in key:
            raise ValueError
        case datetime() if key.tzinfo is None:
            raise ValueError
        case datetime():
            return key.astimezone(UTC)  # what the calendar does not have overflows here, not in the driver
    return key


def _broken() -> Refused:
    return invalid("after", "not a cursor of this list")


def _beyond(sort: Sequence[By], start: Sequence[Any]) -> ColumnElement[bool]:
    columns = [by.column for by in sort]
    bound = [literal(value, column.type) for column, value in zip(columns, start, strict=True)]
    directions = {by.descending for by in sort}
    if len(directions) == 1:  # a row comparison: PostgreSQL goes straight to the place in the index
        return tuple_(*columns) < tuple_(*bound) if directions == {True} else tuple_(*columns) > tuple_(*bound)
    return or_(
        *(
            and_(
                *(columns[before] == bound[before] for before in range(place)),
                columns[place] < bound[place] if by.descending else columns[place] > bound[place],
            )
            for place, by in enumerate(sort)
        )
    )
