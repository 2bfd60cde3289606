import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.documents import Document, parse
from domain.refusals import InvalidInput, Refused

NOW = datetime(2026, 1, 5, 6, tzinfo=UTC)


def doc(told) -> Document:
    return Document(told, "$", [])


@pytest.mark.parametrize(("told", "minor"), [("249.00", 24900), (249, 24900), ("1,249.5", 124950), ("0", 0), (" 7 ", 700)])
def test_amounts_are_exact_however_they_are_written(told, minor):
    assert doc(told).minor() == minor


@pytest.mark.parametrize("told", ["-1", "1.005", "NaN", "Infinity", "1e40", True, [], {}, "9" * 50, "१२x"])
def test_what_is_no_amount_is_a_problem_of_its_place(told):
    one = doc({"price": told})
    assert one["price"].minor() is None
    assert [problem.path for problem in one.problems] == ["$.price"]


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2026-01-05 18:30", datetime(2026, 1, 5, 13, 0, tzinfo=UTC)),
        ("2026-01-0511:33:13", datetime(2026, 1, 5, 6, 3, 13, tzinfo=UTC)),
        ("2026-01-05T10:15:02Z", datetime(2026, 1, 5, 10, 15, 2, tzinfo=UTC)),
        (1767618000, datetime(2026, 1, 5, 13, tzinfo=UTC)),
        ("1767618000000", datetime(2026, 1, 5, 13, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_they_are_written_in_the_zone_of_the_outlet(told, moment):
    assert doc(told).time(NOW, "Asia/Kolkata") == moment


def test_news_is_not_of_the_day_after_tomorrow_and_a_plan_may_be():
    late = (NOW + timedelta(hours=25)).isoformat()
    assert doc(late).time(NOW) is None
    assert doc(late).time(NOW, ahead=True) is not None


@pytest.mark.parametrize("told", [["1", "2"], {"0": "1", "1": "2"}, {"1": "2", "0": "1"}])
def test_lists_come_as_lists_or_as_objects_with_numbers(told):
    assert [item.text() for item in doc(told).items()] == ["1", "2"]


@pytest.mark.parametrize("name", ["²", "x", "-1", "9" * 5_000])
def test_names_that_only_look_like_numbers_make_no_list(name):
    told = doc({name: 1})
    assert not told.items()
    assert [problem.message for problem in told.problems] == ["is no list"]


@given(st.binary().filter(lambda raw: not _is_json(raw)))
def test_bytes_that_are_no_json_are_refused_and_no_more(raw):
    with pytest.raises(Refused) as no:
        parse(raw)
    assert isinstance(no.value.refusal, InvalidInput)


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3))


@given(VALUES)
def test_no_value_raises_however_it_is_read(told):
    one = parse(json.dumps({"x": told}).encode())["x"]
    for read in (one.text, one.id, one.flag, one.number, one.whole, one.minor, one.items, one.object):
        read()
    one.time(NOW, "Asia/Kolkata")


class Unread(dict[str, str]):
    def __str__(self) -> str:
        raise AssertionError("it may hold all of the payload")

    __repr__ = __str__


def test_what_holds_other_things_is_not_written_out_to_say_that_it_is_no_value():
    one = Document(Unread(a="b"), "$.x", [])
    assert (one.flag(), one.number(), one.time(NOW, "UTC")) == (None, None, None)
    assert [told.message for told in one.problems] == ["is neither yes nor no", "'{…}' is no number", "'{…}' is no time"]


def test_of_a_long_list_those_are_made_that_are_taken():
    taken = iter(Document([1, 2, 3], "$", []).each())
    assert (next(taken).path, next(taken).told) == ("$[0]", 2)
