"""What could not be kept is never acknowledged, whatever a provider makes of a refusal otherwise."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from db.ids import new_id
from domain.intake import Call
from domain.refusals import Conflict, InvalidInput, NotFound, Refusal, Refused, Unavailable
from tests.partners import INBOUNDS, SEALS, client_of
from webhooks import bodies, intake
from webhooks.intake import Door

NOT_KEPT = (408, 413, 429, 503)
NOW = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
PROFILE = '{"events": [{"command": "UpdateStockLevel", "entity_id": "sku", "fields": {"quantity": "q"}}], "error": {"status": 422}}'
DOORS = [(provider, door) for provider, inbound in INBOUNDS.items() for door in sorted(set(inbound.doors.values()))]


def url(provider: str, door: str) -> str:
    inbound = INBOUNDS[provider]
    path = next(path for path, name in inbound.doors.items() if name == door)
    for name in ("store", "id", "job", "order"):
        path = path.replace(f"{{{name}}}", "X1")
    return f"/v1/integrations/{inbound.family.value}/{provider}/{path}?source={new_id()}"


class Broken:
    """A database of which every question is refused."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal

    def __getattr__(self, name: str) -> object:
        raise Refused(self.refusal)


@pytest.mark.parametrize("status", NOT_KEPT)
@pytest.mark.parametrize(("provider", "door"), DOORS)
@pytest.mark.parametrize("profile", [None, PROFILE])
def test_no_provider_makes_an_acknowledgement_of_it(provider, door, status, profile):
    call = Call(door, b"{}", {}, NOW, profile=profile)
    assert INBOUNDS[provider].refuse(call, status, "try again later").status >= 400


@pytest.mark.parametrize(("provider", "door"), DOORS)
async def test_a_body_that_stops_half_way_is_to_be_sent_again(provider, door, monkeypatch):
    monkeypatch.setattr(bodies, "ARRIVES_WITHIN_S", 0.01)

    async def stalls() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def nobody(*_: object) -> None: ...

    monkeypatch.setattr(intake.sources, "by_id", nobody)
    client = client_of(Door(INBOUNDS, Broken(Unavailable("none")), lambda: None, SEALS))
    answer = await client.post(url(provider, door), content=stalls())
    assert answer.status_code == 408


@pytest.mark.parametrize("refusal", [InvalidInput("no"), Conflict("no"), NotFound("no"), Unavailable("no")])
@pytest.mark.parametrize(("provider", "door"), DOORS)
async def test_what_is_refused_on_the_way_to_the_disk_is_to_be_sent_again(provider, door, refusal):
    client = client_of(Door(INBOUNDS, Broken(refusal), lambda: None, SEALS))
    body = {"username": str(new_id()), "password": "p"}
    answer = await client.post(url(provider, door), json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
