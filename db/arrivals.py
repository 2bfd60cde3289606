"""What comes in at the doors and has nothing against it: a payload and its instructions, kept by one statement."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Integer, Select, Text, Uuid, bindparam, cast, func, insert, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import TypeEngine

from db.columns import TIME
from db.instructions import columns_of
from db.payloads import row_of
from db.reads import Reads
from db.tables import instruction, payload
from domain.instructions import Command
from domain.payloads import Payload

AT_ONCE = 200
"""Instructions of one statement: a batch of thousands takes its time, and a transaction."""


def _kept() -> Select[Any]:
    p, i = payload.c, instruction.c
    names = ("id", "source_id", "merchant_id", "provider", "family", "door", "headers", "body", "size", "sha256", "state",
        "dedupe_key", "correlation_id", "remote", "translated", "judged", "stage")  # fmt: skip
    kept = upsert(payload).values({name: bindparam(f"payload_{name}", type_=p[name].type) for name in names})
    one = kept.on_conflict_do_nothing().returning(p.id, p.source_id, p.merchant_id, p.received_at).cte("kept")
    kinds: dict[str, tuple[str, TypeEngine[Any]]] = {
        "ids": ("id", Uuid()), "ordinals": ("ordinal", Integer()), "commands": ("command", Text()), "entities": ("entity", Text()),
        "stages": ("stage", Integer()), "bodies": ("body", Text()), "due": ("not_before", TIME),
    }  # fmt: skip
    new = (
        func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, (_, kind) in kinds.items()))
        .table_valued(*(name for name, _ in kinds.values()), name="new")
        .render_derived()
    )
    told = {
        i.id: new.c.id, i.payload_id: one.c.id, i.source_id: one.c.source_id, i.merchant_id: one.c.merchant_id,
        i.ordinal: new.c.ordinal, i.command: new.c.command, i.entity: new.c.entity, i.stage: new.c.stage,
        i.body: cast(new.c.body, JSONB), i.state: bindparam("instruction_state", type_=Text()),
        i.next_at: func.greatest(one.c.received_at, new.c.not_before), i.created_at: one.c.received_at,
    }  # fmt: skip
    rows = select(*told.values()).select_from(one.join(new, true()))
    added = insert(instruction).from_select([column.name for column in told], rows, include_defaults=False)
    return select(one.c.id).add_cte(added.cte("added"))


_KEPT = _kept()  # built once: every call of every provider comes by here


async def keep_at_once(reads: Reads, new: Payload, commands: Sequence[Command]) -> bool:
    """A statement is a transaction of its own: one way to the database instead of four. `reads` must be the primary's.

    False: a live payload of this source has the dedupe key, and nothing was kept.
    """
    given = {f"payload_{name}": value for name, value in row_of(new).items()}
    given |= columns_of(commands, [command.not_before for command in commands])
    return await reads.value(_KEPT, {**given, "instruction_state": "WAITING"}) is not None
