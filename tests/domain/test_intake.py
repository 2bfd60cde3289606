"""What a call is known by: its provider's own id where whoever caught it could give it no other, else ours."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from domain.intake import LATER_BYTES, Call, Family, Source, read
from domain.proofs import STANDARD_WEBHOOKS, Proof, Signed, Strategy, key_of, prove, replay_key, shown
from providers.generic import Generic
from providers.square import Square
from providers.wms import Wms

ID, NOW, URL = UUID(int=7), datetime(2026, 1, 5, 6, 0, tzinfo=UTC), "https://market.example/v1/integrations/erp/wms/webhooks/stock"
TIMED = Proof(Strategy.HMAC_HEADER, "x-sign", signed=Signed.BODY_TIMESTAMP, timestamp_header="x-at")
BODY = b'{"type":"store.status","timestamp":"2026-01-05T06:00:00Z","data":{"location":"A","open":true}}'
LONG = BODY[:-1] + b',"padding":"' + b"x" * LATER_BYTES + b'"}'


def source(proof: Proof, provider: str = "wms", profile: str | None = None) -> Source:
    return Source(ID, ID, provider, Family.ERP, {}, [key_of(proof, shown(proof, b"s" * 32))], proof=proof, profile=profile)


def call(proof: Proof, body: bytes, now: datetime = NOW, **headers: str) -> Call:
    proven = prove(proof, shown(proof, b"s" * 32), ID, URL, body, now, "msg_1")
    return Call("stock", body, {**headers, **proven}, now, url=URL)


@pytest.mark.parametrize("body", [BODY, LONG])
def test_a_caught_call_gets_no_other_id_by_a_header_that_nobody_signed(body):
    first = call(TIMED, body)
    ids = set()
    for header in ({}, {"webhook-id": "one"}, {"webhook-id": "two"}):
        reading = read(Wms(), replace(first, headers={**first.headers, **header}), source(TIMED))
        assert reading.wrong is None
        ids.add(reading.event_id)
    assert ids == {replay_key(TIMED, first)}


def test_an_id_that_is_signed_with_the_body_stays_the_news_own():
    body = json.dumps({"type": "catalog.version.updated", "event_id": "ev-1"}).encode()
    ids = {read(Square(), call(TIMED, body, NOW.replace(second=second)), source(TIMED, "square")).event_id for second in (0, 30)}
    assert ids == {"event_id:ev-1"}


def test_an_id_that_is_signed_as_such_stays_too():
    assert read(Wms(), call(STANDARD_WEBHOOKS, BODY), source(STANDARD_WEBHOOKS)).event_id == "webhook-id:msg_1"


@pytest.mark.parametrize("proof", [TIMED, Proof(Strategy.STATIC_HEADER, "x-pos-key")])
def test_a_long_call_is_kept_though_its_id_cannot_be_told(proof, monkeypatch):
    monkeypatch.setattr(Wms, "event_id", lambda *_: 1 / 0)
    told = call(proof, LONG)
    reading = read(Wms(), told, source(proof))
    assert (reading.wrong, reading.translated, reading.event_id) == (None, False, replay_key(proof, told))


def test_no_id_is_made_of_what_proves_who_calls():
    profile = {
        "events": [{"command": "UpdateStockLevel", "entity_id": "sku", "fields": {"quantity": "q"}}],
        "dedupe": ["header:x-pos-key", "hash"],
    }
    proof = Proof(Strategy.STATIC_HEADER, "x-pos-key")
    told = call(proof, b'{"sku": "T", "q": 1}')
    reading = read(Generic(), told, source(proof, "generic", json.dumps(profile)))
    assert (reading.wrong, len(reading.commands), reading.event_id) == (None, 1, None)
