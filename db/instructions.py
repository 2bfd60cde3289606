"""Instructions as rows: how commands are written down and read again, and what is said of those that wait."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Row,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

from db.columns import TIME
from db.ids import new_id
from db.tables import instruction, payload
from domain.canonical import Command
from domain.intake import APPROVAL, JUDGEMENT, InstructionState
from domain.queue import Instruction

i, p = instruction.c, payload.c
# As they stand in the partial indexes: of a bound value no plan could know that they fit.
IS_WAITING: ColumnElement[Any] = literal_column("'WAITING'")
IS_PARKED: ColumnElement[Any] = literal_column("'PARKED'")
DUE = and_(i.state == IS_WAITING, i.next_at <= func.clock_timestamp())
# Not put off because it failed: its source said from when on it is true.
FOR_ITS_DAY = and_(i.attempts == 0, i.next_at > func.clock_timestamp())
# Nobody is about to carry it out. What waits to be judged, or approved, is for who has locked its payload to change.
LEFT = or_(
    i.state == InstructionState.FAILED,
    and_(i.state == IS_PARKED, i.waits_for.not_in([JUDGEMENT, APPROVAL])),
    and_(i.state == IS_WAITING, FOR_ITS_DAY),
)


def new_rows() -> TableValuedAlias:
    """The lists of `columns_of`, as rows."""
    lists: dict[str, TypeEngine[Any]] = {
        "ids": Uuid(), "ordinals": Integer(), "commands": Text(), "entities": Text(), "stages": Integer(), "bodies": Text(),
        "due": TIME, "payload_ids": Uuid(),
    }  # fmt: skip
    return (
        func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in lists.items()))
        .table_valued("id", "ordinal", "command", "entity", "stage", "body", "due", "payload_id", name="new")
        .render_derived()
    )


def told_by(new: TableValuedAlias) -> dict[str, ColumnElement[Any]]:
    """The columns of an instruction that are its command's own, of such rows."""
    names = ("id", "ordinal", "command", "entity", "stage", "payload_id")
    return {**{name: new.c[name] for name in names}, "body": cast(new.c.body, JSONB)}


# The body as text: it becomes a command at once, and no dictionary first.
INSTRUCTION = (i.id, i.payload_id, i.command, cast(i.body, Text).label("body"), i.attempts, i.created_at, p.correlation_id)


def columns_of(
    payload_id: UUID, commands: Sequence[Command], due: Sequence[datetime | None], first: int = 0
) -> dict[str, Sequence[Any]]:
    """Of so many new rows, a list for each column."""
    return {
        "ids": [new_id() for _ in commands],
        "ordinals": range(first, first + len(commands)),
        "commands": [type(command).__name__ for command in commands],
        "entities": [command.entity for command in commands],
        "stages": [int(command.stage) for command in commands],
        "bodies": [msgspec.json.encode(command).decode() for command in commands],
        "due": due,
        "payload_ids": [payload_id] * len(commands),
    }


def to_command(kind: str, body: str) -> Command:
    return msgspec.json.decode(body, type=Command.kinds[kind], strict=False)


def as_kept(command: Command) -> Command:
    """As it would be read again. Raises for what cannot be kept."""
    return to_command(type(command).__name__, msgspec.json.encode(command).decode())


def to_instruction(row: Row[*tuple[Any, ...]]) -> Instruction:
    return Instruction(row.id, row.payload_id, to_command(row.command, row.body), row.attempts, row.created_at, row.correlation_id)
