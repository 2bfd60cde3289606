"""What docs/events/ promises of each topic is what is published."""

import json
import re

import pytest

from domain.events import Topic
from terminal.schema import VERSION, event_schemas
from tests.docs.pages import DOCS

EVENTS = DOCS / "events"


@pytest.mark.parametrize("topic", Topic, ids=lambda topic: topic.value)
def test_the_schema_of_a_topic_is_the_one_that_is_printed(topic: Topic):
    kept = json.loads((EVENTS / f"{topic.value}.v{VERSION}.json").read_text())
    assert kept == event_schemas()[topic.value], "write it anew: ./haat schema --events"
    assert kept["oneOf"], "nothing is told on it"


def test_every_topic_stands_in_the_page():
    page = (EVENTS / "README.md").read_text()
    assert {match for match in re.findall(r"\(([\w.-]+)\.v\d+\.json\)", page)} == {topic.value for topic in Topic}
    assert {path.name for path in EVENTS.glob("*.json")} == {f"{topic.value}.v{VERSION}.json" for topic in Topic}


def test_times_are_told_as_such():
    level = event_schemas()["inventory.events"]["$defs"]["StockLevel"]["properties"]
    assert level["as_of"] == {"type": "string", "format": "date-time"}
    assert level["back_at"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert level["version"] == {"type": "integer"}
