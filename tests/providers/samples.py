"""What every provider is known to say: the samples of its page under docs/providers/, and those of the demo town."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from demo.samples import SAMPLES
from domain.intake import Call, Inbound, Source
from tests.docs.pages import Example, examples
from tests.providers.calls import call, source
from wiring import INBOUNDS

READ = ("sample", "question")  # the marks of what a provider sends


@dataclass(frozen=True)
class Golden:
    """One call that is right, of a source with these stores. `told` is JSON where the provider speaks it, else bytes."""

    name: str
    inbound: Inbound
    door: str
    told: Any
    stores: tuple[str, ...]
    query: Mapping[str, str]
    path: Mapping[str, str]
    headers: Mapping[str, str]
    profile: str | None = None  # what its source's payloads are read by, where the provider speaks no language of its own

    def call(self, told: Any) -> Call:
        return replace(call(self.door, told, **self.query), path=self.path, headers=self.headers)

    def source(self) -> Source:
        return replace(source(self.inbound, *self.stores), profile=self.profile)


def body(example: Example) -> Any:
    [block] = example.blocks
    return json.loads(block.text) if block.language == "json" else block.text.encode()


def pairs(example: Example, word: str, between: str = "=") -> dict[str, str]:
    """`query=store:a,stock=4`, `path=store:ST-01`, `headers=x-topic:news`."""
    return dict(pair.split(between, 1) for pair in example.words.get(word, "").split(",") if pair)


def profile(example: Example) -> str | None:
    """That of its page which it names."""
    return next(
        (
            one.blocks[0].text
            for one in examples(example.page)
            if one.what == "profile" and one.words["name"] == example.words.get("profile")
        ),
        None,
    )


@cache
def goldens() -> tuple[Golden, ...]:
    return (*_shown(), *_tried())


def _shown() -> Iterator[Golden]:
    for provider, inbound in INBOUNDS.items():
        for one in examples(f"providers/{provider}.md"):
            if one.what in READ:
                stores = tuple(one.words.get("stores", "").split(","))
                query, path, headers = pairs(one, "query"), pairs(one, "path", ":"), pairs(one, "headers", ":")
                yield Golden(str(one), inbound, one.words["door"], body(one), stores, query, path, headers, profile(one))


def _tried() -> Iterator[Golden]:
    for provider, samples in SAMPLES.items():
        inbound = INBOUNDS[provider]
        for name, one in samples.items():
            told = one.body("ST-01", datetime(2026, 1, 5, 6, 0, tzinfo=UTC))
            door = inbound.doors[inbound.endpoints[one.endpoint]]
            yield Golden(f"{provider} {name}", inbound, door, json.loads(json.dumps(told)), ("ST-01",), {}, {}, one.headers)
