import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.intake import Batch, Call, Inbound, Source

SOURCE_ID, MERCHANT_ID = UUID(int=1), UUID(int=2)
RECEIVED = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)


def source(inbound: Inbound, *stores: str) -> Source:
    return Source(SOURCE_ID, MERCHANT_ID, inbound.provider, inbound.family, dict.fromkeys(stores, "Asia/Kolkata"))


def call(door: str, body: Any, **query: str) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(door, raw, {}, RECEIVED, query)


def said(inbound: Inbound, door: str, body: Any, *stores: str, **query: str) -> Batch:
    batch = inbound.translate(call(door, body, **query), source(inbound, *stores))
    assert isinstance(batch, Batch), batch
    return batch
