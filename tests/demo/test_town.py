"""The demo town as it is written down, before anybody seeds it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from adapters.phones import E164Phones
from demo.catalogue import barcode, dearer, everything, goods, late_night
from demo.chain import CITIES, chain
from demo.menu import MENU
from demo.seed import Ids
from demo.town import AWAY_M, BUSINESSES, CONNECTIONS, PASSWORD, PEOPLE, Shop
from domain.identity import App, MerchantRole
from domain.merchants import opening
from domain.places import Point, metres_between
from domain.sessions import check_password

SHOPS = [shop for business in BUSINESSES for shop in business.shops]


def open_at(shop: Shop, now: datetime) -> bool:
    return opening(shop.hours, (), "Asia/Kolkata", now).open


def test_at_every_hour_two_shops_are_open_and_somebody_counts_and_somebody_cooks():
    monday = datetime(2026, 6, 1, tzinfo=UTC)
    for hour in range(7 * 24):
        now = monday + timedelta(hours=hour, minutes=1)
        open_shops = [shop for shop in SHOPS if open_at(shop, now)]
        assert len(open_shops) >= 2, now
        assert {shop.kitchen for shop in open_shops} == {True, False}, now


def test_the_night_shop_is_open_at_night_alone():
    night_owl = next(shop for shop in SHOPS if shop.slug.startswith("night-owl"))
    assert open_at(night_owl, datetime(2026, 6, 1, 20, 30, tzinfo=UTC))  # two in the morning
    assert not open_at(night_owl, datetime(2026, 6, 1, 6, 30, tzinfo=UTC))  # noon


def test_every_shop_delivers_to_every_address():
    homes = [home for person in PEOPLE for home in person.addresses]
    assert len(homes) >= 3
    for home in homes:
        for shop in SHOPS:
            assert metres_between(home.point, shop.point) <= AWAY_M, (home.line1, shop.slug)


def test_there_is_somebody_in_every_role():
    apps = [person.app for person in PEOPLE]
    assert apps.count(App.CUSTOMER) >= 2
    assert apps.count(App.RIDER) >= 4
    assert App.SUPPORT in apps
    assert {person.role for person in PEOPLE if person.role} == set(MerchantRole)


def test_one_owner_sees_both_the_till_and_the_warehouse():
    owner = next(person for person in PEOPLE if person.app is App.MERCHANT)
    assert owner.role is MerchantRole.OWNER
    assert {one.merchant for one in CONNECTIONS} == {owner.merchant}
    assert {one.provider for one in CONNECTIONS} == {"petpooja", "wms"}


def test_everybody_can_sign_in_and_nobody_can_be_rung():
    phones = E164Phones()
    for person in PEOPLE:
        assert phones.e164(person.phone) == person.phone
        assert person.phone.startswith("+915")
        check_password(PASSWORD, phone=person.phone, name=person.name)
    assert len({person.phone for person in PEOPLE}) == len(PEOPLE) == len({person.email for person in PEOPLE})


@pytest.mark.parametrize("listed", [goods("grocery"), goods("bakery"), goods("pharmacy"), late_night(), tuple(everything())])
def test_what_is_sold_has_a_sku_of_its_own_and_no_price_above_the_printed_one(listed: Sequence):
    assert len({good.sku for good in listed}) == len(listed)
    assert len({good.barcode for good in listed}) == len(listed)
    for good in listed:
        assert good.price_minor > 0
        assert good.mrp_minor is None or good.price_minor <= good.mrp_minor
        assert good.barcode == barcode(good.barcode[:12])
        assert len(good.category) == 2


def test_the_grocery_and_the_menu_are_as_large_as_real_small_ones():
    assert len({good.item for good in goods("grocery")}) >= 150
    assert len(MENU) >= 40
    assert any(dish.sizes and dish.choices for dish in MENU)


def test_a_barcode_proves_itself():
    assert barcode("400638133393") == "4006381333931"  # a well-known one


def test_at_night_one_pays_more_and_never_more_than_the_printed_price():
    for good in goods("grocery"):
        assert good.mrp_minor is not None
        assert good.price_minor <= dearer(good).price_minor <= good.mrp_minor


def test_the_chain_has_134_stores_in_32_cities_near_their_middles():
    business, cities = chain()
    assert (len(business.shops), len(set(cities.values()))) == (134, 32)
    assert len({shop.slug for shop in business.shops}) == 134
    middles = {city: Point(lat, lng) for city, lat, lng, _ in CITIES}
    for shop in business.shops:
        assert metres_between(shop.point, middles[cities[shop.slug]]) < 10_000
    assert 200 <= len(business.shops[0].goods) <= 500


def test_ids_are_uuids_of_version_7_in_order_and_the_same_for_the_same_step():
    first, second = Ids("shop"), Ids("shop")
    made = [next(first) for _ in range(50)]
    assert made == [next(second) for _ in range(50)] == sorted(made)
    assert {(id.version, id.variant) for id in made} == {(7, "specified in RFC 4122")}
    assert not set(made) & {next(Ids(f"shop {number}")) for number in range(50)}
