"""A command that must happen once, whoever repeats it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.identity import Actor
from domain.refusals import Kind, Refusal, Refused, invalid

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class KeyReused(Refusal):
    """The same idempotency key with other arguments."""

    code, kind = "KEY_REUSED", Kind.CONFLICT


@dataclass(frozen=True)
class Claim:
    """What stands under an idempotency key: `first` when this transaction has just put it there."""

    first: bool
    request_hash: bytes
    result_id: UUID


class IdempotencyStore(Protocol):
    async def claim(self, actor_id: UUID, operation: str, key: str, request_hash: bytes, result_id: UUID) -> Claim:
        """Inserts before the work. A second equal call waits here until the first has ended."""

    async def point(self, actor_id: UUID, operation: str, key: str, result_id: UUID) -> None:
        """The result is another than was claimed."""


async def claim(actor: Actor, operation: str, key: str, request: Sequence[object], result_id: UUID, uow: "UnitOfWork") -> Claim:
    """The first line of a command that must happen once. Refuses KeyReused, InvalidInput."""
    assert actor.id is not None
    if not 1 <= len(key) <= 200:
        raise invalid("idempotencyKey", "must have 1 to 200 characters")
    digest = hashlib.sha256("\n".join(str(part) for part in request).encode()).digest()
    found = await uow.idempotency.claim(actor.id, operation, key, digest, result_id)
    if found.request_hash != digest:
        raise Refused(KeyReused("this key stands for another request"))
    return found
