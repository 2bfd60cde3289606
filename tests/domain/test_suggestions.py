"""What of ours an id of a source may be: by barcode, by SKU, by a like name."""

import random
from uuid import UUID

import pytest

from domain.suggestions import MOST, MatchReason, Name, Ours, Theirs, best, forms_of, likeness, words

BARCODE, SKU, NAME = MatchReason.BARCODE, MatchReason.SKU, MatchReason.NAME


def ours(n: int, text: str, **more) -> Ours:
    return Ours(UUID(int=n), text, **more)


def test_a_barcode_goes_before_a_sku_and_that_before_a_like_name():
    tea = "Masala Tea 250 g"
    found = best(
        Theirs("8901234567894", titles=(tea,), told_skus=("TEA",)),
        [ours(1, tea), ours(2, "Something", sku="TEA"), ours(3, "Else", barcode="8901234567894"), ours(4, "Brass Lamp")],
    )
    assert [(one.id.int, one.reasons, one.score) for one in found] == [(3, [BARCODE], 1.0), (2, [SKU], 0.95), (1, [NAME], 0.9)]


def test_all_reasons_are_told_and_more_of_them_go_before_fewer():
    found = best(
        Theirs("TEA", titles=("Green Tea",)), [ours(1, "A Brass Lamp", sku="TEA"), ours(2, "Green Tea", sku="TEA", barcode="1")]
    )
    assert [(one.id.int, one.reasons) for one in found] == [(2, [SKU, NAME]), (1, [SKU])]


@pytest.mark.parametrize(
    ("theirs", "others", "same"),
    [
        ("036000291452", "0036000291452", True),  # UPC and EAN of one thing
        ("36000291452", "00036000291452", True),
        ("8901 2345 6789 4", "8901234567894", True),
        ("8901234567894", "8901234567895", False),
        ("1234567", "1234567", False),  # too short to be one
        ("00000000", "0000000000000", False),  # says nothing
        ("TEA-250", "TEA-250", False),
    ],
)
def test_a_barcode_is_the_same_with_more_or_fewer_zeros(theirs, others, same):
    found = best(Theirs(theirs), [ours(1, "Brass Lamp", barcode=others)])
    assert [one.reasons for one in found] == ([[BARCODE]] if same else [])


def test_what_is_no_barcode_has_no_forms():
    assert forms_of("१२३४५६७८") == []
    assert forms_of("") == []


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        ("Garlic Oil 500ml", "garlic oil 500 ML", 1, 1),
        ("Oil, Garlic", "Garlic Oil", 1, 1),
        ("masala-chai", "Masala Chai", 1, 1),
        ("Jakfruit Chps", "Jackfruit Chips", 0.5, 0.99),
        ("चाय मसाला", "मसाला चाय", 1, 1),
        ("Brass Lamp", "Garlic Oil", 0, 0.1),
        ("", "Garlic Oil", 0, 0),
        ("!!!", "???", 0, 0),
    ],
)
def test_names_are_alike_whatever_their_order_and_a_letter_less(one, other, least, most):
    alike = likeness(Name(one), Name(other))
    assert least <= alike <= most
    assert alike == likeness(Name(other), Name(one))


def test_a_mark_upon_a_letter_does_not_part_a_word():
    assert words("चाय-मसाला 2kg") == ["चाय", "मसाला", "2", "kg"]


def test_the_same_question_has_the_same_answer_in_whatever_order_ours_come():
    many = [ours(n, f"Green Tea {n % 7}") for n in range(40)]
    asked = Theirs("green-tea")
    first = best(asked, many)
    assert len(first) == MOST
    for seed in range(5):
        random.Random(seed).shuffle(many)
        assert best(asked, many) == first
    assert all(0 < one.score <= 1 for one in first)


def test_one_of_ours_that_is_found_twice_is_told_once():
    found = best(Theirs("x", titles=("Green Tea",)), [ours(1, "Green Tea 1"), ours(1, "Green Tea")])
    assert [(one.id.int, one.name) for one in found] == [(1, "Green Tea")]
