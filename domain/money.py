"""Money is integers of the minor unit with a currency. Rounded here and nowhere else."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, DecimalException

LIMIT_MINOR = 10**12  # ten thousand million rupees: above it somebody has sent a wrong unit


@dataclass(frozen=True, slots=True)
class Money:
    minor: int
    currency: str

    @property
    def amount(self) -> Decimal:
        """In the major unit, exact: 24900 paise are 249.00."""
        return Decimal(self.minor).scaleb(-2)

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __mul__(self, count: int) -> "Money":
        return Money(self.minor * count, self.currency)

    def _same(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")


def minor_units(amount: Decimal | str | int) -> int:
    """Exact: `"249.5"` is 24950. ValueError for what is negative, too large, no number, or finer than the minor unit."""
    try:
        minor = Decimal(amount).scaleb(2)
        within = 0 <= minor <= LIMIT_MINOR  # before it is made an int: "1e999999999" is short, its digits fill the memory
    except (DecimalException, ValueError) as error:
        raise ValueError(f"{str(amount)[:40]!r} is not an amount") from error
    if not within:
        raise ValueError(f"{str(amount)[:40]} is out of range")
    whole = int(minor)
    if minor != whole:
        raise ValueError(f"{str(amount)[:40]} is finer than the minor unit")
    return whole


def rounded(minor: Decimal) -> int:
    """The one rounding: half up, away from zero, to the minor unit."""
    return int(minor.quantize(Decimal(1), ROUND_HALF_UP))
