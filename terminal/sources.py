"""What providers are told to call us by: secrets and URLs."""

import base64
import hashlib
from collections.abc import Mapping
from uuid import UUID

from demo.town import Connection
from domain.intake import Family, Inbound, Proof
from domain.signatures import PREFIX
from domain.sources import NewSecret
from wiring import INBOUNDS, Trust


def demo_secret(connection: Connection, trust: Trust) -> str:
    """Made from the sealing key of this machine's data, so that every start can show it again: of a token only the hash
    is kept, and nobody without the key can know it."""
    made = trust.digests.digests("demo source", f"{connection.merchant} {connection.provider}")[0]
    if INBOUNDS[connection.provider].proof is Proof.TOKEN:
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
    return PREFIX + base64.b64encode(made).decode()


def new_demo_secret(connection: Connection, trust: Trust) -> tuple[Family, NewSecret]:
    inbound, secret = INBOUNDS[connection.provider], demo_secret(connection, trust)
    hashed = hashlib.sha256(secret.encode()).digest()
    sealed = trust.seals.seal(base64.b64decode(secret.removeprefix(PREFIX))) if inbound.proof is Proof.SIGNATURE else None
    return inbound.family, NewSecret(inbound.proof, hashed, sealed)


def endpoints(inbound: Inbound, url: str, source_id: UUID, secret: str) -> Mapping[str, str]:
    """Full URLs by the provider's names of the doors. Where nothing is signed the secret is a part of them."""
    before = f"{url}/v1/integrations/{inbound.family.value}/{inbound.provider}"
    if inbound.proof is Proof.TOKEN:
        return {name: f"{before}/{secret}/{path}" for name, path in inbound.endpoints.items()}
    return {name: f"{before}/{path}?source={source_id}" for name, path in inbound.endpoints.items()}
