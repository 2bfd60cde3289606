"""`./haat webhook` shows whose its call is in whichever way its source wants it."""

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import sources
from demo.samples import SAMPLES
from domain.intake import Call, read
from domain.proofs import Proof, Strategy
from launch.problem import Problem
from terminal.desk import Desk
from terminal.webhook import Asked, Prepared, prepare
from tests.desks import desk_of
from tests.partners import INBOUNDS, Partner, partner
from tests.webhooks.test_proofs import PROOFS

every = pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS.keys())


@pytest.fixture
def desk(engine: AsyncEngine, database_url: str, tmp_path: Path) -> Desk:
    return desk_of(engine, database_url, tmp_path)


async def heard(prepared: Prepared, sender: Partner, desk: Desk) -> str | None:
    """What is wrong with it, as the door would say."""
    url = urlsplit(prepared.url)
    token = None if "source" in parse_qs(url.query) else url.path.split("/")[5]
    headers = {name.lower(): value for name, value in prepared.headers.items()}
    call = Call("stock", prepared.body, headers, datetime.now(UTC), url=prepared.url, token=token)
    known = await sources.by_id(desk.reads, "wms", sender.source_id)
    assert known is not None
    reading = read(INBOUNDS["wms"], call, known.opened(desk.trust.seals, INBOUNDS["wms"].proof))
    return reading.wrong.message if reading.wrong else None


@every
async def test_what_is_sent_is_proven_and_a_bad_signature_is_not(engine: AsyncEngine, desk: Desk, proof: Proof):
    sender = await partner(engine, "wms", "BLR_DS1", proof=proof, seals=desk.trust.seals)
    of_url = proof.strategy is Strategy.URL_TOKEN
    asked = Asked(str(sender.source_id), "stock.snapshot", secret=sender.text if of_url else None)
    assert await heard(await prepare(asked, desk), sender, desk) is None
    given = Asked(str(sender.source_id), "stock.snapshot", secret=sender.text)
    assert await heard(await prepare(given, desk), sender, desk) is None
    bad = Asked(str(sender.source_id), "stock.snapshot", secret=asked.secret, bad_signature=True)
    assert await heard(await prepare(bad, desk), sender, desk) == "the signature does not match"


async def test_of_a_token_only_the_hash_is_kept_so_it_has_to_be_given(engine: AsyncEngine, desk: Desk):
    sender = await partner(engine, "wms", "BLR_DS1", proof=PROOFS["url"], seals=desk.trust.seals)
    with pytest.raises(Problem, match="the hash alone"):
        await prepare(Asked(str(sender.source_id), "stock.snapshot"), desk)


@pytest.mark.parametrize(("provider", "event"), [(one, event) for one in ("square", "shopify") for event in SAMPLES[one]])
async def test_a_sample_says_what_it_is_where_a_header_says_that(engine: AsyncEngine, desk: Desk, provider: str, event: str):
    sender = await partner(engine, provider, "24826418", seals=desk.trust.seals)
    prepared = await prepare(Asked(str(sender.source_id), event), desk)
    inbound, known = INBOUNDS[provider], await sources.by_id(desk.reads, provider, sender.source_id)
    assert known is not None
    path = urlsplit(prepared.url).path.rpartition("webhooks/")[2]
    call = Call(path, prepared.body, prepared.headers, datetime.now(UTC), url=prepared.url)
    reading = read(inbound, call, known.opened(desk.trust.seals, inbound.proof))
    assert reading.wrong is None
    assert reading.commands
