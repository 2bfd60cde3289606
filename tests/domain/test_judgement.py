from domain.canonical import DeactivateMissing, StockMode, UpdatePrice, UpdateStockLevel, UpsertVariant
from domain.judgement import Rule, Standing, too_much

TEN = [Standing(str(n), f"item-{n}", 10_000, sellable=True) for n in range(10)]


def whole(count: int, *more):
    return [*more, DeactivateMissing(present=tuple(str(n) for n in range(count)))]


def said(commands) -> str:
    verdict = too_much(TEN, commands)
    return verdict.message if verdict else ""


def off(name: str) -> UpdateStockLevel:
    return UpdateStockLevel(id=name, mode=StockMode.AVAILABILITY, available=False)


def test_up_to_thirty_in_a_hundred_may_go():
    assert too_much(TEN, whole(7)) is None
    held = too_much(TEN, whole(6))
    assert held is not None
    assert (held.rule, held.message, held.percent) == (Rule.REMOVED, "it would remove 4 of the 10 listings", 40.0)


def test_what_is_hidden_is_removed_too():
    hidden = [UpsertVariant(variant=str(n), item=f"item-{n}", active=False) for n in range(4)]
    assert "remove 4" in said(whole(10, *hidden))


def test_something_has_to_stay_in_stock():
    assert too_much(TEN, whole(10, *(off(f"item-{n}") for n in range(9)))) is None
    assert "nothing in stock" in said(whole(10, *(off(f"item-{n}") for n in range(10))))
    counted = [UpdateStockLevel(id=str(n), mode=StockMode.ABSOLUTE, quantity=0) for n in range(10)]
    assert "nothing in stock" in said(whole(10, *counted))
    on = [UpdateStockLevel(id=f"item-{n}", mode=StockMode.AVAILABILITY, available=True) for n in range(10)]
    assert "nothing in stock" in said(whole(10, *on, *counted))  # switched on, and none of it there
    assert too_much(TEN, whole(10, *on, *counted[1:])) is None
    gone = [Standing(str(n), None, 100, sellable=False) for n in range(10)]
    assert too_much(gone, whole(10)) is None  # it was so before


def test_prices_may_move_by_half_on_the_whole():
    doubled = [UpdatePrice(variant=str(n), price_minor=20_000) for n in range(5)]
    assert too_much(TEN, whole(10, *doubled)) is not None  # of those that are told
    assert too_much(TEN, whole(10, UpdatePrice(variant="0", price_minor=15_000))) is None
    some = [UpdatePrice(variant=str(n), price_minor=20_000 if n < 5 else 10_000) for n in range(10)]
    assert too_much(TEN, whole(10, *some)) is None
    in_rupees = [UpdatePrice(variant=str(n), price_minor=100) for n in range(10)]
    assert "move prices by 99 %" in said(whole(10, *in_rupees))


def test_a_store_that_shows_nothing_has_nothing_to_lose():
    assert too_much([], whole(0)) is None
