"""What is alike among failures: the same fingerprint for what one mending mends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.failures import SHAPE_LIMIT, fingerprint, shape
from domain.intake import FailureKind


@pytest.mark.parametrize(
    ("message", "alike"),
    [
        ("nothing of ours is mapped to VARIANT:TEA-250", "nothing of ours is mapped to VARIANT:Green tea, 250 g"),
        ("row 3.sale_price: 120.00 is above the market price, 99.00", "row 70.sale_price: 5 is above the market price, 4.5"),
        ("$.data.lines.0.available: is missing", "$.data.lines.17.available: is missing"),
        ("$.items[0].price: is missing", "$.items[12].price: is missing"),
        ("$.items[0].price: is missing", "$.items[0].price: is missing\n$.items[4].price: is missing\n… and 12 more"),
        ("KeyError: 'itemID'", "KeyError: 'it\u2019s something else'"),
        ('ValueError: invalid literal: "a b"', 'ValueError: invalid literal: "7"'),
        ("evt_01HZX came before, with another body", "evt-9 came before, with another body"),
        ("it would remove 12 of the 30 listings", "it would remove 1 of the 2 listings"),
        ("0197f0aa-1111-7000-8000-00000000beef is gone", "0197f0aa-1111-7000-8000-0000000dead1 is gone"),
        ("a: is missing\nb: is missing", "b: is missing\na: is missing"),
    ],
)
def test_what_differs_by_values_alone_is_alike(message: str, alike: str):
    assert shape(message) == shape(alike)
    assert fingerprint("wms", FailureKind.VALIDATION, message) == fingerprint("wms", FailureKind.VALIDATION, alike)


@pytest.mark.parametrize(
    ("message", "other"),
    [
        ("nothing of ours is mapped to VARIANT:TEA", "nothing of ours is mapped to STORE:TEA"),
        ("$.items[0].price: is missing", "$.items[0].name: is missing"),
        ("$.items[0].price: is missing", "$.items[0].price: is no number"),
        ("it isn't ours and wasn't", "it isn't theirs and wasn't"),
    ],
)
def test_what_differs_by_words_is_not(message: str, other: str):
    assert fingerprint("wms", FailureKind.VALIDATION, message) != fingerprint("wms", FailureKind.VALIDATION, other)


def test_a_fingerprint_is_of_one_provider_and_one_kind():
    told = {fingerprint(provider, kind, "is missing") for provider in ("wms", "petpooja") for kind in FailureKind}
    assert len(told) == 2 * len(FailureKind)
    assert all(len(one) == 16 for one in told)


@given(st.text(max_size=300), st.integers(0, 10**9))
def test_any_message_has_a_shape_and_a_number_more_or_less_is_no_other(message: str, number: int):
    assert len(shape(message)) <= SHAPE_LIMIT
    assert shape(f"at {number}: {message}") == shape(f"at 7: {message}")
