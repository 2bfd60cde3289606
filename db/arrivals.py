"""What comes in at the doors and has nothing against it: a payload and its instructions, kept by one statement."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Text, bindparam, func, insert, select, true
from sqlalchemy.dialects.postgresql import insert as upsert

from db.instructions import columns_of, new_rows, told_by
from db.payloads import row_of
from db.reads import Reads
from db.tables import instruction, payload
from domain.instructions import Command
from domain.payloads import Payload

AT_ONCE = 200
"""Instructions of one statement: a batch of thousands takes its time, and a transaction."""


def _kept() -> Select[Any]:
    p = payload.c
    not_told = {p.received_at.name, p.overdue.name}  # when it came, the database says; and what is new is not overdue
    names = [column.name for column in payload.columns if column.name not in not_told]
    kept = upsert(payload).values({name: bindparam(f"payload_{name}", type_=p[name].type) for name in names})
    one = kept.on_conflict_do_nothing().returning(p.id, p.source_id, p.merchant_id, p.received_at).cte("kept")
    new = new_rows()
    told = {
        **told_by(new),
        "payload_id": one.c.id,
        "source_id": one.c.source_id,
        "merchant_id": one.c.merchant_id,
        "state": bindparam("instruction_state", type_=Text()),
        "next_at": func.greatest(one.c.received_at, new.c.due),
        "created_at": one.c.received_at,
    }
    rows = select(*told.values()).select_from(one.join(new, true()))
    added = insert(instruction).from_select(list(told), rows, include_defaults=False)
    return select(one.c.id).add_cte(added.cte("added"))


_KEPT = _kept()  # built once: every call of every provider comes by here


async def keep_at_once(reads: Reads, new: Payload, commands: Sequence[Command]) -> bool:
    """A statement is a transaction of its own: one way to the database instead of four. `reads` must be the primary's.

    False: a live payload of this source has the dedupe key, and nothing was kept.
    """
    given = {f"payload_{name}": value for name, value in row_of(new).items()}
    given |= columns_of(commands, [command.not_before for command in commands])
    return await reads.value(_KEPT, {**given, "instruction_state": "WAITING"}) is not None
