"""Many rows as one argument a column: a statement of one shape however many there are, so it is compiled once."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, ColumnElement, Executable, TableValuedAlias, Uuid, any_, bindparam, column, func, literal
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Column = tuple[TypeEngine[Any] | type[TypeEngine[Any]], Sequence[Any]]


def rows(name: str, **columns: Column) -> TableValuedAlias:
    """`rows("by", id=(Uuid(), ids), units=(Integer(), units)).c.units`. All columns are equally long."""
    arrays = (literal(list(told), ARRAY(kind)) for kind, told in columns.values())
    shape = [column(key, kind) for key, (kind, _) in columns.items()]
    return func.unnest(*arrays).table_valued(*shape, name=name).render_derived()


def given_rows(name: str, **columns: TypeEngine[Any] | type[TypeEngine[Any]]) -> TableValuedAlias:
    """As `rows`, for a statement that is made once: executed with `{"by_units": [...], ...}`, after its name and its columns."""
    arrays = (bindparam(f"{name}_{key}", type_=ARRAY(kind)) for key, kind in columns.items())
    shape = [column(key, kind) for key, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*shape, name=name).render_derived()


def among(column: ColumnElement[Any], told: Iterable[Any]) -> ColumnElement[bool]:
    """As `in_`, with one argument: a thousand values are no longer a statement than one."""
    return column == any_(literal(list(told), ARRAY(column.type)))


def in_ids(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """For a statement that is made once: `reads.rows(STATEMENT, {"ids": ids})`."""
    return column == any_(bindparam("ids", type_=ARRAY(Uuid())))


async def each(connection: AsyncConnection, statement: Executable, values: Sequence[dict[str, Any]]) -> None:
    """One statement with many rows of values, sent at once."""
    if values:
        await connection.execute(statement, values)


def values_of(one: "DataclassInstance") -> dict[str, Any]:
    """As `asdict`, without its copies of copies: a catalogue has thousands."""
    return {field.name: getattr(one, field.name) for field in fields(one)}
