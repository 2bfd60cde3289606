"""docs/api.md and docs/providers/README.md, done by a reader from top to end against the demo town.

A mark before a fence says what is done: `run` asks over HTTP (a graphql block, its variables if it has any, its answer),
`feed` opens a subscription and compares the first frame, `frame` waits for one of an open feed, `close` loses one, `socket`
speaks the protocol itself, `curl` does what a shell would with a `file` of the page, `pay` is the payer on the sandbox's page.
Answers are compared whole; tests/docs/reader.py says how.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.docs.pages import Example, examples
from tests.docs.reader import WITHIN_S, Differs, Reader
from tests.launch.towns import town

PAGES = ("api.md", "providers/README.md")


@pytest.fixture(scope="module")
def reader(server_directory: Path) -> Iterator[Reader]:
    with ExitStack() as stack:
        running = stack.enter_context(town(server_directory / "read-town", "--port", "0", empty=False))
        told = running.ready()
        tokens = {app: login["token"] for app, login in told["logins"].items()}
        http = stack.enter_context(httpx2.Client(timeout=WITHIN_S))
        yield Reader(told["url"], tokens, {"customerToken": tokens["customer"]}, running.said, http, stack)


@pytest.mark.parametrize("example", [one for page in PAGES for one in examples(page)], ids=str)
def test_an_example_does_what_the_page_says(reader: Reader, example: Example):
    reader.follow(example)


def test_an_answer_that_is_not_as_the_page_says_is_noticed():
    """The comparison itself: each of these pages lies."""
    came = {"a": 1, "list": [{"id": "x"}, {"id": "y"}], "at": "2026-11-21T10:10:00Z", "none": None, "long": "eyJhbGci"}
    for lie in (
        {"a": 2},
        {"list": []},
        {"list": [{"id": "{{known}}"}, {"id": "{{known}}"}]},
        {"list": [{"id": "x"}, {"id": "y"}, {"id": "z"}]},
        {"at": "yesterday"},
        {"none": "{{caught}}"},
        {"long": "abc…"},
        {"a": 1, "b": 2},
    ):
        with pytest.raises(Differs):
            _reading()._compare({**(came if "b" not in lie else {}), **lie}, came)
    reading = _reading()
    reading._compare({**came, "list": [{"id": "{{first}}"}], "at": "2000-01-01T00:00:00Z", "long": "eyJ…"}, came)
    assert reading.known == {"first": "x"}
    with pytest.raises(Differs):
        reading._compare({**came, "list": [{"id": "x"}, {"id": "{{first}}"}]}, came)


def _reading() -> Reader:
    return Reader("", {}, {}, str, httpx2.Client(), ExitStack())


def test_every_fence_of_json_is_json():
    """Those of the pages that are only looked at, too."""
    for page in PAGES:
        for example in examples(page):
            for block in example.blocks:
                if block.language == "json":
                    json.loads(block.text.replace("{{version}}", "0"))
