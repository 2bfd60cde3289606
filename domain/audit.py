"""Who did what to whom, beside what the events of an entity already tell."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.identity import Actor


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: UUID
    at: datetime
    actor: str  # "support:0197…", "clock"
    action: str  # "ban user"
    subject: UUID  # whom or what it was done to
    detail: str


class AuditLog(Protocol):
    async def write(self, actor: Actor, action: str, subject: UUID, merchant_id: UUID | None, detail: str) -> None:
        """In the transaction of what it tells of: one is not kept without the other. `detail` holds no secrets."""
