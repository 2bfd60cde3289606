"""Golden payloads of a shop's own till."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.canonical import StockMode, UpdateStockLevel
from domain.refusals import InvalidInput, Refused
from domain.stock import StockMovementKind
from providers.till import MOST_SALES, MOST_UNITS, Till
from tests.providers.calls import said

TILL = Till()
AT, TOLD_AT = datetime(2026, 1, 5, 4, 45, 2, tzinfo=UTC), "2026-01-05T10:15:02+05:30"


def sale(seq: Any = 7, *lines: Any, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "at": TOLD_AT, "lines": list(lines) or [{"sku": "TEA-250", "quantity": 2}], **fields}


def told(*sales: Any, **fields: Any) -> dict[str, Any]:
    return {"device": "till-2", "store": "MAIN", "sales": list(sales), **fields}


def change(units: int, kind: StockMovementKind, reason: str, **more: Any) -> UpdateStockLevel:
    given = {"store": "MAIN", "id": "TEA-250", "at": AT, "once": "till-2:7"} | more
    return UpdateStockLevel(**given, mode=StockMode.DELTA, quantity=units, movement=kind, reason=reason)


SOLD, RETURNED = StockMovementKind.SOLD, StockMovementKind.RETURNED


@pytest.mark.parametrize(
    ("body", "commands"),
    [
        (told(sale()), [change(-2, SOLD, "sale 7 of till-2")]),
        (told(sale("7")), [change(-2, SOLD, "sale 7 of till-2")]),
        (told(sale(kind="RETURN")), [change(2, RETURNED, "return 7 of till-2")]),
        (told(sale(kind="void")), [change(2, RETURNED, "void 7 of till-2")]),
        (told(sale(), store=None), [change(-2, SOLD, "sale 7 of till-2", store=None)]),
        (told({"0": sale()}["0"]), [change(-2, SOLD, "sale 7 of till-2")]),
        (
            told(sale(7, {"sku": "TEA-250", "quantity": "2"}, {"sku": 9, "quantity": 1}, {"sku": "TEA-250", "quantity": 3})),
            [change(-5, SOLD, "sale 7 of till-2"), change(-1, SOLD, "sale 7 of till-2", id="9")],
        ),
        (
            told(sale(), sale(8)),
            [change(-2, SOLD, "sale 7 of till-2"), change(-2, SOLD, "sale 8 of till-2", once="till-2:8")],
        ),
    ],
)
def test_a_sale_takes_its_units_once(body: Any, commands: list[UpdateStockLevel]):
    batch = said(TILL, "sales", body, "MAIN")
    assert (list(batch.commands), list(batch.problems)) == (commands, [])


@pytest.mark.parametrize(
    ("wrong", "paths"),
    [
        (sale(0), ["$.sales[0].seq"]),
        (sale(None), ["$.sales[0].seq"]),
        (sale(at=None), ["$.sales[0].at"]),
        (sale(at="yesterday"), ["$.sales[0].at"]),
        (sale(at="2026-01-05T10:15:02"), ["$.sales[0].at"]),
        (sale(at="2026-02-05T10:15:02Z"), ["$.sales[0].at"]),
        (sale(kind="gift"), ["$.sales[0].kind"]),
        (sale(lines=None), ["$.sales[0].lines"]),
        (sale(7, {"sku": "", "quantity": "1.5"}), ["$.sales[0].lines[0].sku", "$.sales[0].lines[0].quantity"]),
        (sale(7, {"sku": "TEA-250", "quantity": 0}), ["$.sales[0].lines[0].quantity"]),
        (sale(7, "TEA-250"), ["$.sales[0].lines[0].sku", "$.sales[0].lines[0].quantity"]),
    ],
)
def test_a_sale_with_something_wrong_is_left_out_whole_and_the_others_are_not(wrong: Any, paths: list[str]):
    batch = said(TILL, "sales", told(wrong, sale(8)), "MAIN")
    assert [problem.path for problem in batch.problems] == paths
    assert [command.once for command in batch.commands if isinstance(command, UpdateStockLevel)] == ["till-2:8"]


TOO_MANY = told(*[sale()] * (MOST_SALES + 1))


@pytest.mark.parametrize(
    "body", [[], {}, {"device": "till-2"}, told(sale(), device=None), {"device": "t", "sales": "all"}, TOO_MANY]
)
def test_what_is_no_list_of_sales_is_refused(body: Any):
    with pytest.raises(Refused) as refused:
        said(TILL, "sales", body, "MAIN")
    assert isinstance(refused.value.refusal, InvalidInput)


def test_what_the_lines_of_one_sku_come_to_has_a_bound():
    most = {"sku": "TEA-250", "quantity": MOST_UNITS}
    batch = said(
        TILL, "sales", told(sale(7, most), sale(8, most, {"sku": "RICE", "quantity": 1}, {"sku": "TEA-250", "quantity": 2}))
    )
    assert [one.quantity for one in batch.commands if isinstance(one, UpdateStockLevel)] == [-MOST_UNITS]
    assert [f"{one.path}: {one.message}" for one in batch.problems] == [
        "$.sales[1].lines[2].quantity: makes 1000000002 of TEA-250: out of range"
    ]
