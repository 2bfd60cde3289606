import base64
import json

import pytest

from db.events import Head
from domain.refusals import InvalidInput, Refused
from subscriptions.cursors import cursor, read_cursor, tag

FEED = tag("stock", ["store", "listing"])


def forged(*parts):
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def test_a_cursor_comes_back_as_it_was():
    place = Head("0badcafe", 2**53 + 1)
    assert read_cursor(cursor(place, FEED), FEED) == place


def test_it_reads_as_nothing_but_letters():
    assert cursor(Head("e", 7), FEED).replace("-", "").replace("_", "").isalnum()


def test_the_same_feed_has_the_same_tag_on_every_server():
    assert tag("stock", ["a", "b"]) == "03ee3d61d828"


@pytest.mark.parametrize(
    "other", [("stock", ["store"]), ("order", ["store", "listing"]), ("stock", ["storelisting"]), ("stock", [])]
)
def test_another_feed_s_cursor_is_refused(other):
    with pytest.raises(Refused) as no:
        read_cursor(cursor(Head("e", 7), tag(*other)), FEED)
    assert isinstance(no.value.refusal, InvalidInput)
    assert no.value.refusal.problems[0].path == "after"


@pytest.mark.parametrize(
    "broken",
    ["", "x", "====", "nonsense", "é" * 8, "a b", "A" * 10_000, cursor(Head("e", 7), FEED)[:-2], "\x00", "bnVsbA",
     forged("e", "7", FEED), forged("e", 7.5, FEED), forged("e", True, FEED), forged("e", None, FEED), forged(["e"], 7, FEED),
     forged("e", -1, FEED), forged("e", 2**63, FEED), forged("e", 10**80, FEED), forged("e", 7), forged("e", 7, FEED, 1)],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(broken):
    with pytest.raises(Refused) as no:
        read_cursor(broken, FEED)
    assert isinstance(no.value.refusal, InvalidInput)


def test_its_form_is_what_clients_already_hold():
    """Those handed out by an earlier version must still be read."""
    assert read_cursor("WyIwYmFkY2FmZSIsNDIsIjAzZWUzZDYxZDgyOCJd", "03ee3d61d828") == Head("0badcafe", 42)
