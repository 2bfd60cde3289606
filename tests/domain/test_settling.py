"""A payload that is read again says what it has not said before, and looks for that in no more places than it must."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.canonical import StockMode, UpdateStockLevel
from domain.settling import _unsaid
from domain.stock import StockMovementKind

AT = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
MANY = 2_000


def told(sku: int, quantity: int = 1, at: datetime = AT, store: str = "A") -> UpdateStockLevel:
    return UpdateStockLevel(
        store=store, id=f"SKU-{sku}", mode=StockMode.DELTA, quantity=quantity, movement=StockMovementKind.COUNTED, at=at
    )


def test_only_what_is_new_is_said_in_its_order():
    said = [told(1), told(2)]
    again = [told(3), told(1, at=AT.astimezone(ZoneInfo("Asia/Kolkata"))), told(2, 5), told(2), told(1, at=AT + timedelta(1))]
    assert _unsaid([*again, told(1, store="B")], said) == [again[0], again[2], again[4], told(1, store="B")]
    assert _unsaid(again, []) == again


def test_a_long_payload_is_not_compared_with_itself_word_by_word(monkeypatch):
    compared, equal = 0, UpdateStockLevel.__eq__

    def counted(one: UpdateStockLevel, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(one, other)

    monkeypatch.setattr(UpdateStockLevel, "__eq__", counted)
    assert _unsaid([told(n) for n in range(MANY)], [told(n) for n in reversed(range(MANY))]) == []
    assert compared == MANY
