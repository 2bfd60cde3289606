"""Whether a caller who was let in may stay."""

from resolvers.context import Context


async def signed_in(context: Context) -> bool:
    """False within a second or so of signing out, of a ban, and of losing the app."""
    session_id = context.actor.session_id
    return session_id is not None and (await context.ports.sessions.standing(session_id)).alive
