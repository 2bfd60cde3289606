"""Omuni. No API of its is public: ASSUMED is what we would take, modelled on its nearest peer's push of quantities.

Batches of what may be sold of each SKU at a location, absolute; `timestamp` is an addition that we ask for. Nobody there has
confirmed it. A source that is told otherwise gets a profile of its own, and that profile's answers.
"""

import json
from collections.abc import Sequence
from uuid import UUID

from domain.intake import LATER_BYTES, Answer, Call, Family
from domain.profile_reading import Line, lines_of
from domain.refusals import Refused
from providers.generic import ZONE, Generic

ASSUMED = {
    "profile": "omuni-assumed/1",
    "assumed": True,
    "transport": "webhook",
    "auth": {"strategy": "standard_webhooks"},
    "events": [
        {
            "when": {"endpoint": ["stock", "inventory"]},
            "each": "$.products[*]",
            "command": "UpdateStockLevel",
            "entity_id": "channelSkuId",
            "source_ts": {"path": "$.timestamp", "as": "datetime", "tz": "Asia/Kolkata"},
            "fields": {"store": "$.locationCode", "mode": {"const": "absolute"}, "quantity": "quantity"},
        },
    ],
    "dedupe": ["header:webhook-id", "hash"],
}


class Omuni(Generic):
    """Answers with what it took and what it did not, as far as the door knows: what is not mapped yet is found later."""

    def __init__(self) -> None:
        super().__init__("omuni", Family.ERP, json.dumps(ASSUMED))

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return super().acknowledge(call, payload_id) if call.profile else _told(200, self._lines(call))

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        lines = self._lines(call) if not call.profile and status in (400, 422) else []
        return _told(400, lines) if lines else super().refuse(call, status, message)

    def _lines(self, call: Call) -> list[Line]:
        """None of what is read later, by the worker."""
        if len(call.body) > LATER_BYTES:
            return []
        try:
            return lines_of(self._profile(None), call, ZONE, {})[0]
        except Refused:
            return []


def _told(status: int, lines: Sequence[Line]) -> Answer:
    taken = [line.id for line in lines if not line.problems]
    left = [
        {"channelSkuId": line.id, "message": "; ".join(f"{one.path}: {one.message}" for one in line.problems)}
        for line in lines
        if line.problems
    ]
    return Answer(status, {"successProducts": taken, "failureProducts": left})
