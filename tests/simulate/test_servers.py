"""The servers beside a simulation: what a till has is compared, and nobody goes on being told after they are gone."""

from types import SimpleNamespace
from typing import Any

import pytest

from simulate.servers import TOLD, Told, beside


def test_a_till_has_each_order_of_its_store_once():
    mine, also, other, never = (
        SimpleNamespace(number=number, store_id=store, status=status)
        for number, store, status in (("A", "1", "PLACED"), ("B", "1", "READY"), ("C", "2", "PLACED"), ("D", "1", "CANCELLED"))
    )
    town: Any = SimpleNamespace(seen=SimpleNamespace(orders={one.number: one for one in (mine, also, other, never)}))

    def found(*has: str) -> Any:
        return Told("wms", "source", frozenset({"1"}), lambda: has)._compared(town)

    assert found("A", "B") == []
    assert found("B", "A", "B") == ["wms has order B 2 times"]
    assert found("A") == ["wms was not told of order B, which is READY"]
    assert found("A", "B", "C") == ["wms was told of order C of another store"]


async def test_who_was_told_is_told_no_more_where_another_could_not_be_set_up():
    asked: list[tuple[str, Any]] = []

    class Merchant:
        async def ask(self, document: str, **given: Any) -> None:
            if document == TOLD:
                asked.append((given["source"], given["on"]))

    petpooja = {"id": "source", "store": "k7x2m9qa", "endpoints": {"order-status": "https://haat.test/callback"}}
    town = SimpleNamespace(merchant=Merchant(), where=SimpleNamespace(sources={"petpooja": petpooja}), stores=[], spoken_for={})
    integrator: Any = SimpleNamespace(town=town)
    wish: Any = SimpleNamespace(newcomers=(), of_the_town=2, faults=True)
    with pytest.raises(KeyError, match="wms"):
        async with beside(integrator, wish):
            raise AssertionError("nothing is to be played")
    assert asked == [("source", True), ("source", False)]
