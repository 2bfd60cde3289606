"""Fills a database with the demo town, or the chain. What is there already stays as it is: a second time changes nothing."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from demo.catalogue import Good
from demo.menu import CHOICES, MENU, Choice, Dish
from demo.town import AWAY_M, BUSINESSES, CITY, CONNECTIONS, PEOPLE, Business, Connection, Person, Shop
from domain import catalog, counting, identity, merchants, sources
from domain.addresses import SaveAddress, save_address
from domain.catalog import ProductKind, UpsertedProduct
from domain.choices import OfferedGroup, OfferedGroups, UpsertedGroup, UpsertedModifier, apply_modifier_groups
from domain.identity import CLOCK, Actor, ActorKind, App, MerchantRole
from domain.intake import EntityKind, Family
from domain.listings import UpsertedListing, apply_listings
from domain.sources import NewSecret
from domain.unit_of_work import UnitOfWork

BEGINNING_MS = 1_767_225_600_000  # 2026-01-01: what is seeded is older than what people do


class Ids:
    """The same for the same step, so that every town has the same ids, whoever seeds it: UUIDv7, in order.

    What a step makes must be told by its name: the same name again would give the same ids to other things.
    """

    def __init__(self, step: str) -> None:
        self.next_step(step)

    def next_step(self, step: str) -> None:
        self._step, self._number = step, 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> UUID:
        rest = int.from_bytes(hashlib.sha256(f"{self._step} {self._number}".encode()).digest()[:10], "big")
        moment, high, low = BEGINNING_MS + self._number, rest >> 64 & 0xFFF, rest & (1 << 62) - 1
        self._number += 1
        return UUID(int=moment << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


Begin = Callable[[Ids], AbstractAsyncContextManager[UnitOfWork]]
"""A transaction whose new ids are these."""
Secret = Callable[[Connection], tuple[Family, NewSecret]]


@dataclass(frozen=True)
class Seeding:
    """`password_hash` is that of every account; `secret` what a source of the town is connected with.

    `told` is called after each shop with (its name, how many of its goods are new).
    """

    begin: Begin
    password_hash: str
    secret: Secret
    told: Callable[[str, int], None] = lambda name, new: None


async def seed_town(seeding: Seeding) -> None:
    ids = Ids("people")
    async with seeding.begin(ids) as uow:
        for person in PEOPLE:
            ids.next_step(f"person {person.phone}")
            await _settle(person, seeding.password_hash, uow)
    for business in BUSINESSES:
        await seed_business(business, {}, seeding)
    async with seeding.begin(Ids("staff")) as uow:
        for person in PEOPLE:
            if person.merchant is not None:
                await _employ(person, uow)
    for connection in CONNECTIONS:
        async with seeding.begin(Ids(f"source {connection.provider}")) as uow:
            await _connect(connection, seeding.secret, uow)


async def seed_business(business: Business, cities: Mapping[str, str], seeding: Seeding) -> None:
    """One transaction a shop. `cities` by the shop's slug; the town's own where none is named."""
    for shop in business.shops:
        ids = Ids(f"business {business.slug}")
        async with seeding.begin(ids) as uow:
            merchant_id = await identity.add_merchant(identity.AddMerchant(business.name, business.slug), CLOCK, uow)
            ids.next_step(f"shop {shop.slug}")
            store_id = await _open(shop, merchant_id, cities.get(shop.slug, CITY), uow)
            told = _dishes() if shop.kitchen else _goods(shop.goods)
            shelf = Shelf(merchant_id, store_id, ids, uow)
            new = await shelf.fill(told)
            if shop.kitchen and new:
                await shelf.offer_choices(new)
            seeding.told(shop.name, len(new))


# ---------------------------------------------------------------- people


async def _settle(person: Person, password_hash: str, uow: UnitOfWork) -> None:
    if await uow.identity.lock_by_phone(person.phone) is not None:
        return
    support, rider = person.app is App.SUPPORT, person.app is App.RIDER
    added = identity.AddUser(person.name, person.phone, person.email, password_hash, support=support, rider=rider)
    user_id, _ = await identity.add_user(added, CLOCK, uow)
    for body in person.addresses:
        await save_address(SaveAddress(None, body), Actor(ActorKind.CUSTOMER, user_id), uow)


async def _employ(person: Person, uow: UnitOfWork) -> None:
    account = await uow.identity.lock_by_phone(person.phone)
    assert account is not None
    assert person.merchant is not None
    assert person.role is not None
    merchant_id = await _merchant(person.merchant, uow)
    if await uow.identity.role_in(merchant_id, Actor(ActorKind.MERCHANT, account.id)) is not None:
        return
    stores = [store_id for slug in person.shops if (store_id := await _store(slug, uow))]
    await identity.set_member(identity.SetMember(merchant_id, account.id, person.role, stores), CLOCK, uow)


async def _merchant(slug: str, uow: UnitOfWork) -> UUID:
    name = next(business.name for business in BUSINESSES if business.slug == slug)
    return await identity.add_merchant(identity.AddMerchant(name, slug), CLOCK, uow)


async def _store(slug: str, uow: UnitOfWork) -> UUID:
    found = await uow.sources.store_of_slug(slug)
    assert found is not None
    return found[0]


# ---------------------------------------------------------------- shops


async def _open(shop: Shop, merchant_id: UUID, city: str, uow: UnitOfWork) -> UUID:
    return await merchants.add_store(
        merchants.AddStore(
            merchant_id,
            shop.slug,
            shop.name,
            city,
            shop.point,
            hours=shop.hours,
            prep_minutes=shop.prep_minutes,
            radius_m=AWAY_M,
            delivery_minor=shop.delivery_minor,
            packaging_minor=shop.packaging_minor,
            minimum_minor=shop.minimum_minor,
        ),
        CLOCK,
        uow,
    )


@dataclass(frozen=True)
class Told:
    """One variant as a shop sells it. `stock` None: it is not counted."""

    sku: str
    variant: str
    rank: int
    item: str  # what the variants of one product have in common
    product: Callable[[UUID], UpsertedProduct]  # of a merchant
    price_minor: int
    mrp_minor: int | None = None
    packaging_minor: int = 0
    barcode: str | None = None
    stock: int | None = None


def _goods(goods: Sequence[Good]) -> Sequence[Told]:
    def product(good: Good) -> Callable[[UUID], UpsertedProduct]:
        return lambda merchant_id: UpsertedProduct(None, merchant_id, good.name, brand=good.brand, category_path=good.category)

    return [
        Told(
            good.sku,
            good.variant,
            rank,
            good.item,
            product(good),
            good.price_minor,
            good.mrp_minor,
            barcode=good.barcode,
            stock=good.stock,
        )
        for rank, good in enumerate(goods)
    ]


def _dishes() -> Sequence[Told]:
    def product(dish: Dish) -> Callable[[UUID], UpsertedProduct]:
        return lambda merchant_id: UpsertedProduct(
            None,
            merchant_id,
            dish.name,
            ProductKind.MENU_ITEM,
            dish.description,
            category_path=(dish.section,),
            diet=dish.diet,
        )

    return [
        Told(id, size, rank, dish.id, product(dish), price * 100, packaging_minor=dish.packaging * 100)
        for dish in MENU
        for id, size, price, rank in _sizes(dish)
    ]


def _sizes(dish: Dish) -> Sequence[tuple[str, str, int, int]]:
    """(id, name, price, rank) of each."""
    return [(size.id, size.name, size.price, place) for place, size in enumerate(dish.sizes, 1)] or [(dish.id, "", dish.price, 0)]


@dataclass(frozen=True)
class Shelf:
    """A store to be filled with what it does not have yet."""

    merchant_id: UUID
    store_id: UUID
    ids: Ids
    uow: UnitOfWork

    async def fill(self, told: Sequence[Told]) -> Mapping[str, UUID]:
        """The new listings, by SKU."""
        variants = await self._variants(told)
        listed = await self.uow.listings.lock_listed([(self.store_id, variant_id) for variant_id in variants.values()])
        missing = [one for one in told if (self.store_id, variants[one.sku]) not in listed]
        if not missing:
            return {}
        self.ids.next_step(f"listings {self.store_id} {' '.join(one.sku for one in missing)}")
        listing_ids = await apply_listings(
            [
                UpsertedListing(
                    self.store_id,
                    variants[one.sku],
                    one.price_minor,
                    one.mrp_minor,
                    one.packaging_minor,
                )
                for one in missing
            ],
            self.uow,
        )
        new = {one.sku: id for one, id in zip(missing, listing_ids, strict=True) if id is not None}
        now = await self.uow.now()
        counts = [
            counting.Count(new[one.sku], one.stock, now, "first count", str(CLOCK)) for one in missing if one.stock is not None
        ]
        if counts:
            await counting.apply_counts(counts, self.uow)
        return new

    async def _variants(self, told: Sequence[Told]) -> Mapping[str, UUID]:
        """Each SKU's, and the products they belong to, made where the merchant has none of that SKU."""
        known = await self.uow.catalog.variants_by_sku({(self.merchant_id, one.sku) for one in told})
        products = {one.item: known[key].product_id for one in told if (key := (self.merchant_id, one.sku)) in known}
        missing = [one for one in told if (self.merchant_id, one.sku) not in known]
        self.ids.next_step(f"variants {self.merchant_id} {' '.join(one.sku for one in missing)}")
        unmade = {one.item: one for one in missing if one.item not in products}
        made = await catalog.apply_products([one.product(self.merchant_id) for one in unmade.values()], self.uow) if unmade else []
        products |= dict(zip(unmade, made, strict=True))
        upserted = [
            catalog.UpsertedVariant(None, self.merchant_id, products[one.item], one.sku, one.variant, one.barcode, rank=one.rank)
            for one in missing
        ]
        new = await catalog.apply_variants(upserted, self.uow) if upserted else []
        return {sku: variant.id for (_, sku), variant in known.items()} | dict(zip((one.sku for one in missing), new, strict=True))

    async def offer_choices(self, new: Mapping[str, UUID]) -> None:
        """The menu's groups, and which dish is offered with which."""
        groups = [UpsertedGroup(self.store_id, choice.id, choice.name, _options(choice)) for choice in CHOICES]
        offers = [
            OfferedGroups(
                new[id], [OfferedGroup(choice.id, choice.least, choice.most, rank) for rank, choice in enumerate(dish.choices)]
            )
            for dish in MENU
            for id, _, _, _ in _sizes(dish)
            if id in new and dish.choices
        ]
        await apply_modifier_groups(groups, offers, self.uow)


def _options(choice: Choice) -> Sequence[UpsertedModifier]:
    return [UpsertedModifier(option.id, option.name, option.price * 100, rank=rank) for rank, option in enumerate(choice.options)]


# ---------------------------------------------------------------- sources


async def _connect(connection: Connection, secret: Secret, uow: UnitOfWork) -> None:
    """And tells which of its ids are which of ours: it calls a variant by its SKU."""
    merchant_id = await _merchant(connection.merchant, uow)
    if await uow.sources.find(merchant_id, connection.provider) is not None:
        return
    owner = next(one for one in PEOPLE if one.merchant == connection.merchant and one.role is MerchantRole.OWNER)
    account = await uow.identity.lock_by_phone(owner.phone)
    assert account is not None
    actor = Actor(ActorKind.MERCHANT, account.id)
    family, new = secret(connection)
    source_id = await sources.connect_source(merchant_id, connection.provider, family, new, actor, uow)
    source = await uow.sources.lock(source_id, actor)
    assert source is not None
    shop = next(shop for business in BUSINESSES for shop in business.shops if shop.slug == connection.shop)
    told = _dishes() if shop.kitchen else _goods(shop.goods)
    variants = await uow.catalog.variants_by_sku({(merchant_id, one.sku) for one in told})
    items = {one.item: variants[merchant_id, one.sku].product_id for one in told}
    await uow.sources.map(source, EntityKind.STORE, [(connection.external_id, await _store(connection.shop, uow))])
    await uow.sources.map(source, EntityKind.PRODUCT, list(items.items()))
    await uow.sources.map(source, EntityKind.VARIANT, [(sku, variant.id) for (_, sku), variant in variants.items()])
