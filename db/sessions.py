"""Sessions, their refresh tokens, and one-time codes. Nothing here could be used by who reads it: all is hashed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from db.identity import GRANTED
from db.reads import Reads
from db.tables import otp, refresh_token, session, user_account
from domain.identity import App
from domain.sessions import StoredCode, StoredSession

s, token, code, user = session.c, refresh_token.c, otp.c, user_account.c
ALIVE = and_(s.revoked_at.is_(None), s.expires_at > func.clock_timestamp())


@dataclass(frozen=True, slots=True)
class Standing:
    """What has become of a session since its token was signed."""

    alive: bool
    grants: int  # the user's: another number means that what they may see has changed


GONE = Standing(False, 0)


async def standings(reads: Reads, session_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """Not alive: signed out, past its time, its user banned, or the app taken from them; and what never was."""
    granted: ColumnElement[bool] = or_(*(and_(s.app == app, granted) for app, granted in GRANTED.items()))
    found = await reads.rows(
        select(s.id, and_(ALIVE, user.banned_at.is_(None), granted).label("alive"), user.grants)
        .join_from(session, user_account, user.id == s.user_id)
        .where(s.id.in_(session_ids))
    )
    return dict.fromkeys(session_ids, GONE) | {row.id: Standing(row.alive, row.grants) for row in found}


class SqlSessions:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def open(self, session_id: UUID, user_id: UUID, app: App, expires_at: datetime) -> None:
        await self._connection.execute(insert(session).values(id=session_id, user_id=user_id, app=app, expires_at=expires_at))

    async def add_token(self, session_id: UUID, token_hash: bytes) -> None:
        await self._connection.execute(insert(refresh_token).values(hash=token_hash, session_id=session_id))

    async def of_token(self, token_hash: bytes) -> tuple[UUID, UUID] | None:
        found = select(s.id, s.user_id).join(refresh_token, token.session_id == s.id).where(token.hash == token_hash)
        row = (await self._connection.execute(found)).first()
        return (row.id, row.user_id) if row else None

    async def lock(self, session_id: UUID) -> StoredSession | None:
        found = select(s.id, s.user_id, s.app, ALIVE.label("alive")).where(s.id == session_id).with_for_update(key_share=True)
        row = (await self._connection.execute(found)).first()
        return StoredSession(*row) if row else None

    async def use_token(self, token_hash: bytes, now: datetime) -> datetime | None:
        first = await self._connection.execute(
            update(refresh_token).where(token.hash == token_hash, token.used_at.is_(None)).values(used_at=now).returning(token.hash)
        )
        if first.first() is not None:
            return None
        used_at: datetime = (await self._connection.execute(select(token.used_at).where(token.hash == token_hash))).scalar_one()
        return used_at

    async def successor_among(self, session_id: UUID, token_hashes: Sequence[bytes]) -> bytes | None:
        found = select(token.hash).where(token.session_id == session_id, token.hash.in_(token_hashes)).limit(1)
        successor: bytes | None = (await self._connection.execute(found)).scalar_one_or_none()
        return successor

    async def extend(self, session_id: UUID, expires_at: datetime) -> None:
        await self._connection.execute(update(session).where(s.id == session_id).values(expires_at=expires_at))

    async def _revoke(self, which: ColumnElement[bool], because: str) -> None:
        await self._connection.execute(
            update(session).where(which, s.revoked_at.is_(None)).values(revoked_at=func.clock_timestamp(), revoked_because=because)
        )

    async def revoke(self, session_id: UUID, because: str) -> None:
        await self._revoke(s.id == session_id, because)

    async def revoke_all(self, user_id: UUID, because: str) -> None:
        # In id order: another transaction may be ending several of them too.
        await self._connection.execute(select(s.id).where(s.user_id == user_id).order_by(s.id).with_for_update(key_share=True))
        await self._revoke(s.user_id == user_id, because)

    # ------------------------------------------------------------ codes

    async def set_code(self, phone: str, code_hash: bytes, expires_at: datetime, tries: int) -> None:
        new: dict[str, Any] = {"code_hash": code_hash, "expires_at": expires_at, "tries_left": tries}
        await self._connection.execute(
            postgresql.insert(otp).values(phone=phone, **new).on_conflict_do_update(index_elements=[code.phone], set_=new)
        )

    async def lock_code(self, phone: str) -> StoredCode | None:
        found = select(code.code_hash, code.expires_at, code.tries_left).where(code.phone == phone).with_for_update()
        row = (await self._connection.execute(found)).first()
        return StoredCode(*row) if row else None

    async def count_try(self, phone: str) -> None:
        await self._connection.execute(update(otp).where(code.phone == phone).values(tries_left=code.tries_left - 1))

    async def drop_code(self, phone: str) -> None:
        await self._connection.execute(delete(otp).where(code.phone == phone))

    # ------------------------------------------------------------ in time

    async def prune(self, before: datetime) -> int:
        """Sessions that ended before, and codes that are past their time. Returns how many sessions went."""
        ended = select(s.id).where(or_(s.expires_at < before, s.revoked_at < before))
        await self._connection.execute(delete(refresh_token).where(token.session_id.in_(ended)))
        gone = await self._connection.execute(delete(session).where(s.id.in_(ended)))
        await self._connection.execute(delete(otp).where(code.expires_at < before))
        return int(gone.rowcount)
