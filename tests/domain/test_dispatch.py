from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.dispatch import OTHER_PAY, PAY_RULES, REACH_M, Candidate, Nearest, pay_for
from domain.money import Money
from domain.places import Point, metres_between

STORE = Point(12.9716, 77.5946)
A, B, C, D = (UUID(int=n) for n in range(1, 5))


def test_the_nearest_comes_first_and_who_is_nowhere_last():
    ranked = Nearest().choose(
        STORE, [Candidate(A, None), Candidate(B, Point(12.99, 77.60)), Candidate(C, Point(12.972, 77.595)), Candidate(D, None)]
    )
    assert ranked == [C, B, A, D]


def test_who_is_known_to_be_out_of_reach_is_not_asked():
    far = Point(13.2, 77.6)
    assert metres_between(STORE, far) > REACH_M
    assert Nearest().choose(STORE, [Candidate(A, far)]) == []


places = st.builds(Point, st.floats(12.9, 13.1), st.floats(77.5, 77.7))


@given(st.lists(st.builds(Candidate, st.uuids(), st.none() | places), unique_by=lambda one: one.rider_id), st.randoms())
def test_the_order_in_which_riders_are_found_changes_nothing(candidates, random):
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert Nearest().choose(STORE, shuffled) == Nearest().choose(STORE, candidates)


@pytest.mark.parametrize(("metres", "minor"), [(0, 2500), (1000, 3300), (1500, 3700), (1, 2501), (62, 2550), (63, 2550)])
def test_pay_is_a_flat_sum_and_so_much_a_kilometre(metres, minor):
    pay, rule = pay_for(metres, "INR")
    assert pay == Money(minor, "INR")
    assert str(rule) == f"{PAY_RULES['INR'].id}:1"


def test_a_currency_without_a_rule_has_the_rule_of_others():
    assert pay_for(0, "EUR") == (Money(OTHER_PAY.flat_minor, "EUR"), OTHER_PAY)
