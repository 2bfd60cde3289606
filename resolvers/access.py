"""Where sources are asked that do not tell by themselves, and where they are told of orders."""

import json

from db import sources
from db.sources import Source
from domain.access import SetSourceAccess, set_source_access
from domain.pulling import Puller
from resolvers.context import Context


async def set_access(context: Context, command: SetSourceAccess) -> Source:
    """Refuses NotFound, InvalidInput. What it is asked with is sealed before it is anywhere."""
    found = await sources.sources_by_id(context.reads, context.actor, [command.source_id])
    inbound = context.ports.inbounds.get(found[0].provider) if found else None
    asked = inbound if isinstance(inbound, Puller) else None
    told = context.ports.outbounds.get(found[0].provider) if found else None
    sealed = context.ports.seals.seal(json.dumps(dict(command.credentials)).encode())
    async with context.unit_of_work() as uow:
        await set_source_access(command, asked or told, sealed, context.actor, uow)
    [source] = await sources.sources_by_id(context.reads, context.actor, [command.source_id])
    return source
