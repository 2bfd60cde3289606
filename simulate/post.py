"""The way to the doors of providers, for all who call there: a call is proven, sent, and sent again as its caller would."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import httpx2

from simulate.seen import Document, Seen, Sent
from tests.simulators.calls import Call, Caller

MARK = "x-simulated"  # a header of ours, kept with the payload: by it we find our own again
PACE = 1 / 60  # a minute of theirs is a second here
LONGEST_S = 3.0
BY_HAND_S = (10, 20, 40, 80, 160)  # who publishes no retries has somebody who presses the button again


@dataclass
class Post:
    http: httpx2.AsyncClient
    seen: Seen
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def ref(self) -> str:
        return f"sim-{self.seen.run}-{next(self.numbers)}"

    async def send(self, caller: Caller, call: Call, sent: Sent, *, forged: bool = False) -> Document:
        """Again while the door says it is away: the same bytes, by the same id, with a proof of that moment."""
        self.seen.webhooks.append(sent)
        for pause_s in (*(caller.pauses_s or BY_HAND_S), None):
            proven = caller.proven(call, forged=forged)
            headers = {"content-type": "application/json", MARK: sent.ref, **proven.headers}
            try:
                response = await self.http.post(proven.url, content=proven.body, headers=headers)
                sent.status, sent.answer = response.status_code, response.text
                if sent.status != 429 and sent.status < 500:
                    answer: Document = response.json()
                    return answer
            except (httpx2.TransportError, ValueError) as error:
                sent.answer = f"{type(error).__name__}: {error}"
            if pause_s is not None:
                sent.again += 1
                await asyncio.sleep(min(pause_s * PACE, LONGEST_S))
        return {}
