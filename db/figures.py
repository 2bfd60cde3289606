"""How much is waiting, for those who watch over us."""

from collections.abc import Sequence

from sqlalchemy import and_, func, literal, literal_column, select
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import ScalarSelect

from db import tables as t
from db.pictures import TO_DO
from db.reads import Reads
from db.telling import WAITING
from domain.figures import Reading
from domain.intake import InstructionState
from domain.pictures import PictureState

MOST = 100_000
"""Further is not counted: it is too much either way."""

event, instruction, telling = t.event.c, t.instruction.c, t.telling.c


def _count(where: ColumnElement[bool]) -> ScalarSelect[int]:
    some = select(literal(1)).where(where).limit(MOST).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


# What is parked waits for a mapping, and of a source that is off nobody expects any.
_UNTOLD = and_(telling.state == WAITING, ~telling.parked, telling.source_id.in_(select(t.source.c.id).where(t.source.c.enabled)))
_BACKLOG = select(
    _count(instruction.state == InstructionState.WAITING).label("waiting"),
    _count(instruction.state == InstructionState.PARKED).label("parked"),
    _count(event.pos.is_(None)).label("unstamped"),
    # The oldest by number is the oldest by time, or nearly.
    select(func.extract("epoch", func.clock_timestamp() - event.at))
    .where(event.pos.is_(None))
    .order_by(event.id)
    .limit(1)
    .scalar_subquery()
    .label("lag_s"),
    _count(TO_DO).label("wanted"),
    _count(t.picture.c.state == literal_column(f"'{PictureState.FAILED.value}'")).label("not_had"),
    _count(_UNTOLD).label("untold"),
    select(func.extract("epoch", func.clock_timestamp() - func.min(telling.since)))
    .where(_UNTOLD)
    .scalar_subquery()
    .label("untold_s"),
    select(func.count()).where(t.source.c.enabled, t.source.c.silent_since.is_not(None)).scalar_subquery().label("silent"),
)


async def backlog(reads: Reads) -> Sequence[Reading]:
    """Refuses Unavailable."""
    row = await reads.one(_BACKLOG)
    assert row is not None
    return [
        Reading("instructions", row.waiting, {"state": "waiting"}),
        Reading("instructions", row.parked, {"state": "parked"}),
        Reading("relay_lag_events", row.unstamped),
        Reading("relay_lag_seconds", float(row.lag_s or 0)),
        Reading("sources_silent", row.silent),
        Reading("pictures", row.wanted, {"state": "wanted"}),
        Reading("pictures", row.not_had, {"state": "failed"}),
        Reading("orders_untold", row.untold),
        Reading("orders_untold_seconds", float(row.untold_s or 0)),
    ]
