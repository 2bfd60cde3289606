"""How much of a process's memory those get who send: little of who is not known, and nobody all of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from db import tables as t
from tests.partners import Partner, client_of, event, partner
from tests.waiting import until
from webhooks.intake import BODY_BYTES, LARGE_BODY_BYTES
from webhooks.limits import ROOM_EACH_BYTES, Room

PIECE = b" " * 65_536


class Sent:
    """A body in pieces: so many bytes, then nothing until `goes_on`, then `rest`."""

    def __init__(self, size: int, rest: bytes = b"") -> None:
        self.size, self.rest, self.taken, self.goes_on = size, rest, 0, asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        while self.taken < self.size:
            self.taken += len(PIECE)
            yield PIECE
        await self.goes_on.wait()
        yield self.rest


def unknown(one: Partner) -> str:
    return one.path("import?store=mine").replace(one.text, "A" * len(one.text))


def at(one: Partner, room: Room, remote: str = "127.0.0.1") -> httpx2.AsyncClient:
    return client_of(replace(one.door, room=room), remote)


def rows(padding: int) -> bytes:
    return json.dumps([{"id": "S1", "title": "Tea", "price": "9.00", "note": "x" * padding}]).encode()


async def test_of_who_is_not_known_a_megabyte_is_read_and_answered_as_ever(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    room, long, over = Room(), Sent(LARGE_BODY_BYTES - 1), rows(2 * BODY_BYTES)
    stranger = at(seller, room, "203.0.113.61")
    for content in (long.pieces(), over):
        answer = await stranger.post(unknown(seller), content=content)
        assert (answer.status_code, answer.json()["message"]) == (404, "not found")
    assert long.taken <= BODY_BYTES + len(PIECE)
    p = t.payload.c
    kept = await seller.rows(select(p.size, p.body).where(p.remote == "203.0.113.61").order_by(p.id))
    assert [(row.size, len(row.body)) for row in kept] == [(BODY_BYTES, 4096)] * 2
    assert (await stranger.post(unknown(seller), content=b" " * (LARGE_BODY_BYTES + 1))).status_code == 413
    assert (await at(seller, room).post(seller.path("import?store=mine"), content=over)).status_code == 202
    assert not room._taken


async def test_who_calls_from_elsewhere_is_a_stranger(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    async with engine.begin() as connection:
        away = t.source.update().where(t.source.c.id == seller.source_id).values(ip_allow=["198.51.100.0/24"])
        await connection.execute(away)
    long = Sent(LARGE_BODY_BYTES - 1)
    answer = await at(seller, Room(), "203.0.113.62").post(seller.path("import?store=mine"), content=long.pieces())
    assert (answer.status_code, long.taken <= BODY_BYTES + len(PIECE)) == (404, True)


async def test_strangers_fill_their_share_and_no_partners(engine):
    """Each sends nearly all it may, and keeps its call open. Those who only say that they will send something take nothing."""
    seller, room = await partner(engine, "catalogue_file", "mine"), Room()
    strangers = [Sent(14 * len(PIECE)) for _ in range(80)]
    silent = [Sent(0) for _ in range(300)]
    client = at(seller, room, "203.0.113.63")
    calls = [asyncio.create_task(client.post(unknown(seller), content=one.pieces())) for one in [*silent, *strangers]]
    await until(lambda: sum(call.done() for call in calls) >= 7 and sum(room._taken.values()) > ROOM_EACH_BYTES * 0.9, 20)
    assert sum(room._taken.values()) <= ROOM_EACH_BYTES
    assert (await at(seller, room).post(seller.path("import?store=mine"), content=rows(9 * BODY_BYTES))).status_code == 202
    for one in silent + strangers:
        one.goes_on.set()
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {404, 503}
    assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 503} == {"5"}
    assert not room._taken


async def test_one_source_that_has_its_share_in_hand_is_to_send_again_and_others_are_not(engine):
    one, other = await partner(engine, "wms"), await partner(engine, "wms")
    room, slow = Room(most=2 * BODY_BYTES, each=BODY_BYTES), Sent(15 * len(PIECE))

    def said(padding: int) -> bytes:
        return json.dumps({**event("stock.adjusted", location="ST-1", sku="TEA", delta="3"), "padding": "x" * padding}).encode()

    async def told(by: Partner, padding: int) -> Any:
        body = said(padding)
        return await at(by, room).post(by.path("webhooks/stock"), content=body, headers=by.signed(body))

    waiting = asyncio.create_task(at(one, room).post(one.path("webhooks/stock"), content=slow.pieces()))
    await until(lambda: room._taken.get(one.source_id) == slow.size)
    refused = await told(one, 100_000)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json() == {"status": "failed", "message": "try again later"}
    assert (await told(one, 1_000)).status_code == 200  # what is short takes none
    assert (await told(other, 100_000)).status_code == 200
    slow.goes_on.set()
    assert (await waiting).status_code == 401
    assert (await told(one, 100_000)).status_code == 200
    assert (await one.payloads(), room._taken) == (["ACCEPTED", "REJECTED", "ACCEPTED"], {})


@pytest.mark.parametrize("whole", [True, False])
async def test_all_of_them_together_have_no_more_than_there_is(engine, whole):
    one, other = await partner(engine, "catalogue_file", "mine"), await partner(engine, "catalogue_file", "theirs")
    room, slow = Room(most=3 * BODY_BYTES, each=2 * BODY_BYTES), Sent(30 * len(PIECE))
    waiting = asyncio.create_task(at(one, room).post(one.path("import?store=mine"), content=slow.pieces()))
    await until(lambda: slow.taken == slow.size)
    content: Any = rows(int(1.5 * BODY_BYTES)) if whole else Sent(24 * len(PIECE)).pieces()
    assert (await at(other, room).post(other.path("import?store=theirs"), content=content)).status_code == 503
    waiting.cancel()
    await asyncio.wait([waiting])
    await until(lambda: not room._taken)
