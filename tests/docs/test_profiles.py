"""The page of profiles: every operator reads what it says, and names every command, field and bound there is."""

import json
import re
from typing import Any

import pytest

from domain.intake import Batch, Call, Family, Source
from domain.profile_checking import parsed
from domain.profiles import ENDPOINTS, FIELDS, As
from providers.generic import Generic
from providers.omuni import Omuni
from tests.docs.pages import DOCS, Example, examples, tables
from tests.providers.calls import MERCHANT_ID, RECEIVED, SOURCE_ID, call

PAGE = "providers/generic.md"
PROFILED = ("generic", "generic_pos", "generic_seller")
READS = [one for one in examples(PAGE) if one.what == "reads"]
COMMANDS = {
    "title": ("UpsertVariant", "title", {}),
    "price": ("UpdatePrice", "price_minor", {}),
    "quantity": ("UpdateStockLevel", "quantity", {}),
    "available": ("UpdateStockLevel", "available", {}),
    "images": ("UpsertCatalogItem", "images", {"title": {"const": "T"}}),
}


@pytest.mark.parametrize("example", READS, ids=str)
def test_an_operator_reads_what_the_page_says(example: Example):
    said, told, wanted = (json.loads(block.text) for block in example.blocks)
    field = example.words["field"]
    event: dict[str, Any] = {"entity_id": {"const": "1"}}
    if field == "source_ts":
        event |= {"command": "UpdateStockLevel", "fields": {"quantity": {"const": 1}}, "source_ts": said}
        name = "at"
    else:
        command, name, more = COMMANDS[field]
        event |= {"command": command, "fields": {field: said, **more}}
    profile = json.dumps({"events": [event]})
    source = Source(SOURCE_ID, MERCHANT_ID, "generic", Family.ERP, {}, profile=profile)
    batch = Generic().translate(Call("stock", json.dumps(told).encode(), {}, RECEIVED), source)
    assert isinstance(batch, Batch)
    assert not batch.problems
    read = getattr(batch.commands[0], name)
    if name == "at":
        read = read.isoformat().replace("+00:00", "Z")
    assert (list(read) if isinstance(read, tuple) else read) == wanted


def test_every_operator_has_an_example():
    used = {operator for one in READS for operator in json.loads(one.blocks[0].text)}
    assert used >= {"path", "const", "map", "default", "coalesce", "concat", "as", "unit", "true", "tz"}
    text = (DOCS / PAGE).read_text()
    for kind in As:
        assert f"`{kind.value}`" in text or f"**{kind.value}**" in text


def test_every_command_and_field_is_told():
    rows = {row[0].strip("`"): set(re.findall(r"`([\w.]+)`", row[1])) for row in tables(PAGE, "Commands and their fields")}
    assert rows.keys() == {name for name in FIELDS if name}
    text = (DOCS / PAGE).read_text()
    sold = set(re.findall(r"`(\w+)`", text.partition("Those of what is sold: ")[2].partition(". An item")[0]))
    for command, shapes in FIELDS.items():
        if command is None:
            continue
        told = rows[command] - {"attributes.NAME"}
        if "barcode" in shapes:
            told |= sold
        assert told == shapes.keys() - {"store"}, command
        [row] = [row for row in tables(PAGE, "Commands and their fields") if row[0] == f"`{command}`"]
        assert set(re.findall(r"\*\*`(\w+)`\*\*", row[1])) == {name for name, shape in shapes.items() if shape.needed}
    for shapes in FIELDS.values():
        for name, shape in shapes.items():
            for word in shape.words or ():
                if name in ("mode", "kind", "movement", "diet", "unit", "status") and word not in ("nonveg", "counted"):
                    assert f"`{word}`" in text, word


def test_every_door_of_the_language_is_told():
    text = (DOCS / PAGE).read_text()
    for door in ENDPOINTS:
        assert f"`{door}`" in text


@pytest.mark.parametrize("page", PROFILED)
def test_a_profile_of_a_page_is_right(page: str):
    for one in examples(f"providers/{page}.md"):
        if one.what == "profile":
            parsed(one.blocks[0].text)


def test_omunis_lists_are_the_pages():
    [one] = [one for one in examples("providers/omuni.md") if one.what == "lists"]
    told, wanted = (json.loads(block.text) for block in one.blocks)
    assert Omuni().acknowledge(call(one.words["door"], told), SOURCE_ID).body == wanted
