"""Values that many types speak of: times, amounts, points."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import strawberry
from graphql import FloatValueNode, IntValueNode, StringValueNode, ValueNode
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.types.scalar import ScalarDefinition

from domain import money, places
from domain.refusals import InvalidInput, Problem, Refused

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_AMOUNT = re.compile(r"-?\d{1,18}(\.\d{1,9})?", re.ASCII)


def _time_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time(value: object) -> datetime:
    """A time without its offset would mean another moment on each server."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        whole, point, rest = value.upper().partition(".")
        if point:  # finer than a microsecond is left out
            digits = re.match(r"\d+", rest)
            assert digits is not None
            value = f"{whole}.{digits[0][:6]:0<6}{rest[digits.end() :]}"
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise StrawberryInputCoercionError("DateTime: RFC 3339 with its offset is meant, as 2026-11-21T10:00:00Z")


def _amount(value: object) -> Decimal:
    """Plain digits alone: an exponent makes a short text a number that fills the memory."""
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool) and _AMOUNT.fullmatch(str(value)):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            pass
    raise StrawberryInputCoercionError('Decimal: plain digits are meant, as "249.00"')


def _amount_literal(node: ValueNode, _variables: Mapping[str, object] | None = None) -> Decimal:
    """From the text of the query itself: 249.10 never becomes a float."""
    if isinstance(node, StringValueNode | IntValueNode | FloatValueNode):
        return _amount(node.value)
    return _amount(None)


SCALARS: dict[object, ScalarDefinition] = {
    datetime: ScalarDefinition(
        name="DateTime",
        description="RFC 3339 in UTC",
        specified_by_url=None,
        serialize=_time_text,
        parse_value=_time,
        parse_literal=None,
        origin=datetime,
    ),
    Decimal: ScalarDefinition(
        name="Decimal",
        description='Exact, as a string: "249.00"',
        specified_by_url=None,
        serialize=str,
        parse_value=_amount,
        parse_literal=_amount_literal,
        origin=Decimal,
    ),
}
"""For `StrawberryConfig(scalar_map=…)`: how these print and what they take."""


@strawberry.type
class Money:
    amount: Decimal = strawberry.field(description="In the major unit")
    currency: str = strawberry.field(description="ISO 4217")


@strawberry.type(description="WGS 84 degrees")
class Point:
    lat: float
    lng: float


@strawberry.input(description="WGS 84 degrees")
class PointInput:
    lat: float
    lng: float


def point(told: PointInput, path: str) -> places.Point:
    """Refuses InvalidInput for what is not on the earth."""
    problems = [
        Problem(f"{path}.{name}", f"must be from {-most} to {most}")
        for name, value, most in (("lat", told.lat, 90), ("lng", told.lng, 180))
        if not -most <= value <= most  # neither is what is no number
    ]
    if problems:
        raise Refused(InvalidInput(f"{path}: not a point on the earth", problems))
    return places.to_the_centimetre(told.lat, told.lng)


def minor(amount: Decimal, path: str) -> int:
    """In the minor unit. Refuses InvalidInput for what is negative, too much, or finer than that."""
    try:
        return money.minor_units(amount)
    except ValueError as error:
        raise Refused(InvalidInput(f"{path}: {error}", (Problem(path, str(error)),))) from None
