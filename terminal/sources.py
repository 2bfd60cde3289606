"""Sources by their ids, and the demo sources' secrets."""

from uuid import UUID

from db import sources
from demo.town import Connection
from domain.intake import Family, Source
from domain.proofs import shown
from domain.sources import NewSecret, kept_secret
from domain.truth import DASHBOARD
from launch.problem import Problem
from terminal.desk import OPERATOR, Desk
from wiring import INBOUNDS, Trust


async def known_source(told: str, desk: Desk) -> Source:
    """By the id that was typed."""
    try:
        found = await sources.sources_by_id(desk.reads, OPERATOR, [UUID(told)])
    except ValueError:
        found = []
    if not found or found[0].provider == DASHBOARD:
        raise Problem(f"there is no source {told}", "sources have ids: { merchant { sources { id } } }")
    return await sources.any_by_id(desk.reads, found[0].id)


def demo_secret(connection: Connection, trust: Trust) -> str:
    """Made from the sealing key of this machine's data, so that every start can show it again: of a token only the hash
    is kept, and nobody without the key can know it."""
    return shown(INBOUNDS[connection.provider].proof, _made(connection, trust))


def new_demo_secret(connection: Connection, trust: Trust) -> tuple[Family, NewSecret]:
    inbound = INBOUNDS[connection.provider]
    return inbound.family, kept_secret(inbound.proof, demo_secret(connection, trust), trust.seals)


def _made(connection: Connection, trust: Trust) -> bytes:
    return trust.digests.digests("demo source", f"{connection.merchant} {connection.provider}")[0]
