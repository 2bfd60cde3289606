"""Paths against doors: with names in them, with a slash too many, percent-encoded, and as they are kept."""

import pytest

from domain.doors import Found, called, doors_of, kept

DOORS = {
    "webhooks/menu": "menu",
    "orders/{id}/status/": "status",
    "orders/all/status": "every-status",
    "stores/{store}/items/{item}": "item",
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("webhooks/menu", Found("menu", {})),
        ("webhooks/menu/", Found("menu", {})),
        ("webhooks/%6Denu", Found("menu", {})),
        ("orders/42/status", Found("status", {"id": "42"})),
        ("orders/42/status/", Found("status", {"id": "42"})),
        ("orders/all/status", Found("every-status", {})),
        ("stores/BLR%2FDS1/items/TEA%20250", Found("item", {"store": "BLR/DS1", "item": "TEA 250"})),
        ("webhooks/menu//", None),
        ("webhooks", None),
        ("webhooks%2Fmenu", None),
        ("orders//status", None),
        ("orders/1/2/status", None),
        ("", None),
    ],
)
def test_a_path_is_one_door_or_none(path, found):
    assert doors_of(DOORS).find(path) == found


def test_what_is_read_later_was_called_as_it_is_read_at_once():
    headers = kept("orders/4%2F2/status/", {"source": "s", "q": "a&b=c?"}, "PUT", "https://haat.test/x")
    again = called(DOORS, headers)
    assert (again.values, again.query, again.method, again.url) == (
        {"id": "4/2"},
        {"source": "s", "q": "a&b=c?"},
        "PUT",
        "https://haat.test/x",
    )


def test_what_was_kept_before_there_were_names_is_read_still():
    assert called(DOORS, {":path": "webhooks/menu?store=x"}).query == {"store": "x"}
    assert called(DOORS, {}).values == {}
