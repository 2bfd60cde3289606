"""Callers sign as is published, and send again as is published; each provider has one."""

from collections.abc import Sequence

import httpx2
import pytest

from simulate import post
from simulate.newcomers import CALLERS
from simulate.plan import NEWCOMERS
from simulate.post import Post
from simulate.seen import Seen, Sent
from tests.simulators.calls import STANDARD_PAUSES_S, Call, Caller, Connection, Thing, Word, mac, standard_signature
from tests.simulators.petpooja import Petpooja
from tests.simulators.shopify import Shopify
from tests.simulators.wms import Wms
from wiring import INBOUNDS

# Key, body and values of providers' own schemes, computed apart from any of our code.
KEY = b"docs-example-key-not-a-secret-01"
BODY = b'{"type":"stock.snapshot","data":{"sku":"TEA-250","available":12}}'
URL = b"https://market.example/v1/integrations/pos/square/webhooks/inventory"


def caller(kind: type[Caller], secret: str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX") -> Caller:
    endpoints = {name: f"http://haat.test/{secret}/{name}?source=src" for name in INBOUNDS[kind.provider].endpoints}
    return kind(Connection("src", secret, endpoints, "1"), [Thing(str(id), "Tea", 100, 5) for id in (1, 2)])


def test_every_provider_has_its_caller():
    assert {provider.value for provider in CALLERS} == INBOUNDS.keys()
    assert set(NEWCOMERS) == set(CALLERS)


def test_signatures_are_those_that_were_published():
    assert standard_signature(KEY, "msg_docs_0001", "1767225600", BODY) == "v1,bQIVDFhDP5ba7Cer5dyYT6rV979AWDkBakeSprPVcG0="
    assert mac(KEY, URL + BODY) == "gtiiL3FBDLYRkCkC4mFMSVcutWFXfMyOJIrpxYhHEos="
    assert mac(KEY, BODY) == "SUMLoSoN28iVLgqemPIaNf7nAeYWNTY80RdO6rX6MGA="


@pytest.mark.parametrize("kind", CALLERS.values(), ids=lambda kind: kind.provider)
def test_a_forged_call_says_the_same_by_another_proof(kind: type[Caller]):
    one = caller(kind)
    for word in one.words:
        call = one.say(word, one.things[0], 2, f"ref-{word.value}")
        good, bad = one.proven(call), one.proven(call, forged=True)
        assert (good.body, good.id) == (bad.body, bad.id) == (call.body, call.id)
        assert (good.url, good.headers) != (bad.url, bad.headers)


def test_what_it_says_is_in_its_books():
    wms, (tea, _) = caller(Wms), caller(Wms).things
    for word, units in ((Word.COUNT, 7), (Word.DELTA, -9), (Word.RECEIPT, 12), (Word.LEFT, 2), (Word.PRICE, 4)):
        wms.say(word, tea, units, "ref")
    assert (tea.units, tea.price, tea.on) == (10, "101.00", True)


async def sent(
    monkeypatch: pytest.MonkeyPatch, kind: type[Caller], answers: Sequence[int]
) -> tuple[list[httpx2.Request], list[float]]:
    """What came over the wire, and the pauses between, in their own time."""
    came: list[httpx2.Request] = []
    pauses: list[float] = []
    left = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        came.append(request)
        return httpx2.Response(left.pop(0), json={"status": "accepted"})

    async def sleep(pause_s: float) -> None:
        pauses.append(round(pause_s / post.PACE, 3))

    monkeypatch.setattr(post, "LONGEST_S", float("inf"))
    monkeypatch.setattr(post.asyncio, "sleep", sleep)
    one = caller(kind)
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        call = one.say(one.words[0], one.things[0], 2, "ref-1")
        await Post(http, Seen("run")).send(one, call, Sent("mark", kind.provider, "src", "", None))
    return came, pauses


async def test_a_call_that_was_not_taken_comes_again_by_the_same_id(monkeypatch: pytest.MonkeyPatch):
    came, pauses = await sent(monkeypatch, Wms, [503, 500, 429, 200])
    assert pauses == list(STANDARD_PAUSES_S[:3])
    assert len({(request.headers["webhook-id"], request.content) for request in came}) == 1
    assert [request.headers[post.MARK] for request in came] == ["mark"] * 4


async def test_each_gives_up_after_as_many_tries_as_it_is_known_to_make(monkeypatch: pytest.MonkeyPatch):
    came, pauses = await sent(monkeypatch, Shopify, [500] * 9)
    assert (len(came), sum(pauses)) == (9, pytest.approx(4 * 3600, rel=0.05))
    came, _ = await sent(monkeypatch, Petpooja, [503] * 6)
    assert len(came) == 1 + len(post.BY_HAND_S)


async def test_what_is_refused_is_not_sent_again(monkeypatch: pytest.MonkeyPatch):
    came, pauses = await sent(monkeypatch, Wms, [401])
    assert (len(came), pauses) == (1, [])


def test_an_altered_call_differs_from_its_own_by_its_body_alone():
    one = caller(Wms)
    call = one.say(Word.COUNT, one.things[0], 2, "ref-1")
    assert one.altered(call) == Call(call.url, call.body + b" ", call.id, call.headers)
