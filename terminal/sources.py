"""The demo sources' secrets."""

from demo.town import Connection
from domain.intake import Family
from domain.proofs import shown
from domain.sources import NewSecret, kept_secret
from wiring import INBOUNDS, Trust


def demo_secret(connection: Connection, trust: Trust) -> str:
    """Made from the sealing key of this machine's data, so that every start can show it again: of a token only the hash
    is kept, and nobody without the key can know it."""
    return shown(INBOUNDS[connection.provider].proof, _made(connection, trust))


def new_demo_secret(connection: Connection, trust: Trust) -> tuple[Family, NewSecret]:
    inbound = INBOUNDS[connection.provider]
    return inbound.family, kept_secret(inbound.proof, demo_secret(connection, trust), trust.seals)


def _made(connection: Connection, trust: Trust) -> bytes:
    return trust.digests.digests("demo source", f"{connection.merchant} {connection.provider}")[0]
