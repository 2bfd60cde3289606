import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.intake import Batch, Call, Inbound, Source
from domain.proofs import URL_TOKEN, token_hash

SOURCE_ID, MERCHANT_ID = UUID(int=1), UUID(int=2)
TOKEN = "a-token-of-the-tests"
RECEIVED = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)


def source(inbound: Inbound, *stores: str) -> Source:
    """Shown by a token, which `call` has, whatever its provider's own proof is."""
    zones = dict.fromkeys(stores, "Asia/Kolkata")
    secrets = (token_hash(TOKEN),)
    return Source(SOURCE_ID, MERCHANT_ID, inbound.provider, inbound.family, zones, secrets, proof=URL_TOKEN)


def call(door: str, body: Any, **query: str) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(door, raw, {}, RECEIVED, query, token=TOKEN)


def said(inbound: Inbound, door: str, body: Any, *stores: str, **query: str) -> Batch:
    batch = inbound.translate(call(door, body, **query), source(inbound, *stores))
    assert isinstance(batch, Batch), batch
    return batch
