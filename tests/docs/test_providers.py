"""What docs/providers/ shows is what the providers' files read and answer."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from domain import signatures
from domain.intake import Batch, Inbound, Question
from domain.merchants import StoreStatus
from tests.docs.pages import DOCS, Example, examples, tables
from tests.providers.calls import call, source
from tests.providers.samples import body, pairs, profile
from wiring import INBOUNDS, OUTBOUNDS

PAYLOAD = UUID(int=7)


def shown(what: str) -> list[Any]:
    """Each example of all pages that has this mark, with its provider."""
    return [
        pytest.param(inbound, one, id=str(one))
        for name, inbound in INBOUNDS.items()
        for one in examples(f"providers/{name}.md")
        if one.what == what
    ]


@pytest.mark.parametrize(("inbound", "example"), shown("sample"))
def test_a_sample_says_what_the_page_says(inbound: Inbound, example: Example):
    assert example.words["door"] in inbound.endpoints
    path, headers = pairs(example, "path", ":"), pairs(example, "headers", ":")
    asked = replace(call(example.words["door"], body(example), **pairs(example, "query")), path=path, headers=headers)
    batch = inbound.translate(asked, replace(source(inbound, example.words["stores"]), profile=profile(example)))
    assert isinstance(batch, Batch)
    assert not batch.problems
    wanted = Counter[str]()
    for one in example.words["says"].split(","):
        name, _, times = one.partition("*")
        wanted[name] += int(times or 1)
    assert Counter(type(command).__name__ for command in batch.commands) == wanted


@pytest.mark.parametrize(("inbound", "example"), shown("answer"))
def test_an_answer_is_the_pages(inbound: Inbound, example: Example):
    answer = inbound.acknowledge(call(example.words["door"], {}), PAYLOAD)
    assert json.loads(json.dumps(body(example)).replace("{{payload}}", str(PAYLOAD))) == answer.body


@pytest.mark.parametrize(("inbound", "example"), shown("refusal"))
def test_a_refusal_is_the_pages(inbound: Inbound, example: Example):
    words = example.words
    assert inbound.refuse(call(words["door"], {}), int(words["status"]), words["message"].replace("_", " ")).body == body(example)


@pytest.mark.parametrize(("inbound", "example"), shown("question"))
def test_a_question_is_one_and_is_answered_as_the_page_says(inbound: Inbound, example: Example):
    asked = call(example.words["door"], body(example))
    assert isinstance(inbound.translate(asked, source(inbound, example.words["stores"])), Question)
    [told] = [one for one in examples(example.page) if one.what == "says"]
    assert inbound.answer(asked, StoreStatus.OPEN).body == body(told)


@pytest.mark.parametrize("name", INBOUNDS)
def test_every_door_is_told(name: str):
    inbound, text = INBOUNDS[name], (DOCS / "providers" / f"{name}.md").read_text()
    for rest in inbound.doors:
        assert rest.removeprefix("webhooks/") in text
    assert f"/v1/integrations/{inbound.family.value}/{name}" in text
    assert [row[1] for row in tables("providers/README.md", "Providers") if f"({name}.md)" in row[0]] == [
        f"`{inbound.family.value}`"
    ]


@pytest.mark.parametrize("name", OUTBOUNDS)
def test_what_a_till_is_told_with_is_on_its_page(name: str):
    text = (DOCS / "providers" / f"{name}.md").read_text()
    assert [one for one in ("baseUrl", *OUTBOUNDS[name].credentials) if one not in text] == []
    assert f"`{name}`" in (DOCS / "providers" / "README.md").read_text().partition("## Orders told to the till")[2]


def test_the_signature_of_the_page_is_ours():
    text = (DOCS / "providers" / "wms.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    made: dict[str, Any] = {}
    exec(code, made)  # the page's own lines
    secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
    told = made["signature"](secret, "msg_1", 1767607200, b"{}")
    assert told == signatures.sign(signatures.secret_bytes(secret), "msg_1", 1767607200, b"{}")
    assert f"`{told}`" in text
    assert secret in text


def test_every_event_of_the_wms_is_told():
    from providers.wms import _EVENTS

    told = {name.strip("` ") for row in tables("providers/wms.md", "The envelope") for name in row[0].split(",")}
    assert told == set(_EVENTS)
