"""What docs/events/ promises of each topic is what is published."""

import json
import re

import pytest

from domain.events import Topic
from domain.mirror import COMMANDS, PRIVATE
from terminal.schema import VERSION, event_schemas
from tests.docs.pages import DOCS

EVENTS = DOCS / "events"
TOPICS = {COMMANDS, *(topic.value for topic in Topic)}


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_the_schema_of_a_topic_is_the_one_that_is_printed(topic: str):
    kept = json.loads((EVENTS / f"{topic}.v{VERSION}.json").read_text())
    assert kept == json.loads(json.dumps(event_schemas()[topic])), "write it anew: ./haat schema --events"
    assert kept["oneOf"], "nothing is told on it"


def test_every_topic_stands_in_the_page():
    page = (EVENTS / "README.md").read_text()
    assert set(re.findall(r"\(([\w.-]+)\.v\d+\.json\)", page)) == TOPICS
    assert {path.name for path in EVENTS.glob("*.json")} == {f"{topic}.v{VERSION}.json" for topic in TOPICS}


def test_what_people_wrote_and_who_they_are_stands_in_no_schema_of_commands():
    told = event_schemas()[COMMANDS]["$defs"]
    assert told["OrderStatus"]["properties"].keys() >= {"order", "status", "reason"}
    for kind, names in PRIVATE.items():
        assert not names & told[kind.__name__]["properties"].keys()


def test_times_are_told_as_such():
    level = event_schemas()["inventory.events"]["$defs"]["StockLevel"]["properties"]
    assert level["as_of"] == {"type": "string", "format": "date-time"}
    assert level["back_at"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert level["version"] == {"type": "integer"}
