"""The profiles of a source, version after version. One of them at most is active; a saved one stays as it was said."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.identity import Actor
from domain.profile_checking import parsed
from domain.refusals import Conflict, InvalidInput, Kind, Problem, Refusal, Refused, not_found
from domain.sources import LockedSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.unit_of_work import UnitOfWork

VERSIONS_MOST = 500
BUILTIN = 0  # the version of the profile that a provider goes by where its source has no active one


@dataclass(frozen=True, slots=True)
class SourceProfile:
    """`document` is JSON, as it was said. `created_at` is None of a provider's own."""

    source_id: UUID
    version: int
    active: bool
    assumed: bool
    name: str
    document: str
    created_by: str
    created_at: datetime | None


@dataclass(frozen=True)
class ProfileInvalid(Refusal):
    """All problems at once."""

    code, kind = "PROFILE_INVALID", Kind.INVALID_INPUT
    problems: "Sequence[Problem]" = ()


class ProfileStore(Protocol):
    async def newest(self, source_id: UUID) -> int:
        """The highest version, 0 where there is none."""

    async def add(self, source_id: UUID, profile: SourceProfile) -> None: ...

    async def activate(self, source_id: UUID, version: int | None) -> bool:
        """That one alone, or with None none. Whether it is there."""


async def save_profile(source_id: UUID, document: str, actor: Actor, uow: "UnitOfWork") -> int:
    """A new version, which is not active yet. Refuses ProfileInvalid, NotFound, Conflict where there are too many."""
    source = await _locked(source_id, actor, uow)
    try:
        profile = parsed(document)
    except Refused as refused:
        problems = refused.refusal.problems if isinstance(refused.refusal, InvalidInput) else ()
        raise Refused(ProfileInvalid(refused.refusal.message, problems)) from None
    version = await uow.profiles.newest(source_id) + 1
    if version > VERSIONS_MOST:
        raise Refused(Conflict(f"a source has {VERSIONS_MOST} versions of its profile at most"))
    new = SourceProfile(source_id, version, False, profile.assumed, profile.name, document, str(actor), None)
    await uow.profiles.add(source_id, new)
    await uow.audit.write(actor, "saveProfile", source_id, source.merchant_id, f"version {version} {profile.name}".rstrip())
    return version


async def activate_profile(source_id: UUID, version: int, *, builtin: bool, actor: Actor, uow: "UnitOfWork") -> None:
    """From now on. `builtin` says whether there is a version 0 to go back to. Safe to repeat. Refuses NotFound."""
    source = await _locked(source_id, actor, uow)
    if version == BUILTIN and not builtin:
        raise not_found("profile")
    if not await uow.profiles.activate(source_id, None if version == BUILTIN else version):
        raise not_found("profile")
    await uow.audit.write(actor, "activateProfile", source_id, source.merchant_id, f"version {version}")


async def _locked(source_id: UUID, actor: Actor, uow: "UnitOfWork") -> LockedSource:
    source = await uow.sources.lock(source_id, actor)
    if source is None:
        raise not_found("source")
    return source
