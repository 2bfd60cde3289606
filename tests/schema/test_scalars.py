"""How times and amounts print, and what is taken for one."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from domain.money import Money as Amount
from domain.refusals import InvalidInput, Refused
from schema.scalars import SCALARS, Money, PointInput, minor, point


@strawberry.type
class Query:
    @strawberry.field
    def time(self, at: datetime) -> datetime:
        return at.astimezone(timezone(timedelta(hours=5, minutes=30)))

    @strawberry.field
    def amount(self, of: Decimal) -> Decimal:
        return of

    @strawberry.field(graphql_type=Money)
    def money(self, minor: int) -> Amount:
        return Amount(minor, "INR")


schema = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALARS))


def say(document: str, **variables: object) -> object:
    said = schema.execute_sync(document, variables)
    assert said.errors is None, said.errors
    assert said.data is not None
    return next(iter(said.data.values()))


@pytest.mark.parametrize(
    ("told", "printed"),
    [
        ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
        ("2026-11-21T15:30:00+05:30", "2026-11-21T10:00:00Z"),
        ("2026-11-21t10:00:00.5z", "2026-11-21T10:00:00.500000Z"),
        ("2026-11-21T10:00:00.123456789Z", "2026-11-21T10:00:00.123456Z"),
    ],
)
def test_times_are_told_with_their_offset_and_printed_in_utc(told: str, printed: str) -> None:
    assert say("query($at: DateTime!) { time(at: $at) }", at=told) == printed


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-21T10:00:00",
        "2026-11-21",
        "2026",
        "10:00",
        1_700_000_000,
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+05:30",
        "",
        True,
    ],
)
def test_what_is_no_moment_is_not_taken(told: object) -> None:
    assert schema.execute_sync("query($at: DateTime!) { time(at: $at) }", {"at": told}).errors


@pytest.mark.parametrize(
    ("told", "printed"),
    [
        ('"249.00"', "249.00"),
        ("249.00", "249.00"),
        ("249", "249"),
        ("0.10", "0.10"),
        ("9007199254740993.07", "9007199254740993.07"),
    ],
)
def test_an_amount_in_a_document_stays_exact(told: str, printed: str) -> None:
    assert say(f"{{ amount(of: {told}) }}") == printed
    assert say("query($of: Decimal!) { amount(of: $of) }", of=told.strip('"')) == printed


@pytest.mark.parametrize("told", ["1e9", "1e999999999", "NaN", "Infinity", "1,000", " 1", "", "١", True, "9" * 19, 1e300])
def test_what_is_no_plain_number_is_not_taken(told: object) -> None:
    assert schema.execute_sync("query($of: Decimal!) { amount(of: $of) }", {"of": told}).errors


@pytest.mark.parametrize(
    ("units", "printed"), [(24_900, "249.00"), (5, "0.05"), (0, "0.00"), (-150, "-1.50"), (10**12, "10000000000.00")]
)
def test_money_prints_in_the_major_unit(units: int, printed: str) -> None:
    assert str(Amount(units, "INR").amount) == printed
    if abs(units) < 2**31:
        assert say(f"{{ money(minor: {units}) {{ amount currency }} }}") == {"amount": printed, "currency": "INR"}


def test_points_are_on_the_earth() -> None:
    assert point(PointInput(lat=90, lng=-180), "near").lat == 90
    with pytest.raises(Refused) as no:
        point(PointInput(lat=float("nan"), lng=181), "near")
    assert isinstance(no.value.refusal, InvalidInput)
    assert [problem.path for problem in no.value.refusal.problems] == ["near.lat", "near.lng"]


def test_amounts_become_minor_units_or_are_refused() -> None:
    assert minor(Decimal("249.5"), "price") == 24_950
    for amount in ("-0.01", "0.001", "10000000000.01"):
        with pytest.raises(Refused):
            minor(Decimal(amount), "price")
