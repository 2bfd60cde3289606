"""Failures that are alike, a line for each kind of them: what one mending mends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Row, ScalarSelect, Select, Subquery, func, select, true
from sqlalchemy.dialects.postgresql import distinct_on

from db.failures import FAILURE, Columns, fitting, visible_to
from db.pages import By, Page, page
from db.reads import Reads
from db.tables import failure
from domain.failures import Failure, FailureFilter
from domain.identity import Actor
from domain.intake import FailureKind, FailureState

f = failure.c


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Of those that fit what was asked for: `sample` is the newest; `open` and `total` count them, whatever their state."""

    fingerprint: str
    provider: str
    kind: FailureKind
    message: str
    open: int
    total: int
    first_at: datetime
    last_at: datetime
    sample: Failure


async def failure_groups(
    reads: Reads, actor: Actor, which: FailureFilter, first: int | None, after: str | None
) -> Page[FailureGroup]:
    """What failed last first. With a state: groups in which one is in that state.

    Refuses InvalidInput for a page that cannot be, or a text that is none.
    """
    newest = _sifted(which) if _narrow(which) else _walked(which)
    found = select(f.fingerprint).join_from(newest, failure, f.id == newest.c.id).where(visible_to(actor))
    found = found.where(*fitting(FailureFilter(which.merchant_id, which.provider, kind=which.kind, fingerprint=which.fingerprint)))
    return await page(
        reads, found, [By(f.id, descending=True)], _group, first, after, "groups", lambda picked: _told(which, picked)
    )


def _narrow(which: FailureFilter) -> bool:
    """Whether it leaves out some of a group: else one of a group says what all of it is."""
    return any((which.store_id, which.since, which.until, which.text and which.text.strip(), which.fingerprint))


def _sifted(which: FailureFilter) -> FromClause:
    """The newest of each group, among those that fit."""
    found = select(f.fingerprint, f.id).where(*fitting(which)).ext(distinct_on(f.fingerprint))
    return found.order_by(f.fingerprint, f.id.desc()).subquery("newest")


def _walked(which: FailureFilter) -> FromClause:
    """The newest of each group, found by going from one to the next in the index: as many steps as there are groups, however
    many failures are in them."""
    start, step = failure.alias("start"), failure.alias("step")
    walk = select(_first(start.c, *_whose(which, start.c)).label("fingerprint")).cte("walk", recursive=True)
    following = _first(step.c, *_whose(which, step.c), step.c.fingerprint > walk.c.fingerprint)
    walk = walk.union_all(select(following).where(walk.c.fingerprint.is_not(None)))
    # One look for each state: the newest of a state is at the end of its part of the index.
    looks = [_latest(which, state, walk.c.fingerprint) for state in ([which.state] if which.state else FailureState)]
    return select(func.greatest(*looks).label("id")).select_from(walk).subquery("newest")


def _first(c: Columns, *where: ColumnElement[bool]) -> ScalarSelect[str]:
    return select(c.fingerprint).where(*where).order_by(c.fingerprint).limit(1).scalar_subquery()


def _latest(which: FailureFilter, state: FailureState, of: ColumnElement[str]) -> ScalarSelect[UUID]:
    c = failure.alias(f"latest_{state.value.lower()}").c
    found = select(c.id).where(*_whose(which, c), c.fingerprint == of, c.state == state)
    return found.order_by(c.id.desc()).limit(1).scalar_subquery()


def _whose(which: FailureFilter, c: Columns) -> Sequence[ColumnElement[bool]]:
    return fitting(FailureFilter(which.merchant_id), c)


def _told(which: FailureFilter, picked: Subquery) -> Select[Any]:
    """Of the groups of a page all that is shown of them."""
    c = failure.alias("one").c
    tally = (
        select(
            func.count().filter(c.state == FailureState.OPEN).label("open"),
            func.count().label("total"),
            func.min(c.at).label("first_at"),
            func.max(c.at).label("last_at"),
        )
        .where(*fitting(replace(which, state=None, fingerprint=None), c), c.fingerprint == picked.c.fingerprint)
        .lateral("tally")
    )
    return select(*FAILURE, *tally.c).select_from(picked).join(failure, f.id == picked.c.key_0).join(tally, true())


def _group(row: Row[Any]) -> FailureGroup:
    sample = Failure(*row[: len(FAILURE)])
    counts = row.open, row.total, row.first_at, row.last_at
    return FailureGroup(sample.fingerprint, sample.provider, sample.kind, sample.message, *counts, sample)
