"""The API: all roots together."""

import strawberry

from schema import (
    access,
    addresses,
    batches,
    cart,
    catalog,
    customers,
    failures,
    health,
    identity,
    mappings,
    merchants,
    orders,
    profiles,
    quotes,
    replays,
    riders,
    shadow,
    sources,
    stock,
    support,
    truth,
)
from schema.build import build


@strawberry.type
class Query(
    identity.Query,
    merchants.Query,
    catalog.Query,
    orders.Query,
    customers.Query,
    riders.Query,
    support.Query,
    replays.Query,
    shadow.Query,
    batches.Query,
): ...


@strawberry.type
class Mutation(
    identity.Mutation,
    addresses.Mutation,
    cart.Mutation,
    quotes.Mutation,
    orders.Mutation,
    catalog.Mutation,
    stock.Mutation,
    merchants.Mutation,
    riders.Mutation,
    failures.Mutation,
    profiles.Mutation,
    sources.Mutation,
    health.Mutation,
    access.Mutation,
    replays.Mutation,
    mappings.Mutation,
    truth.Mutation,
    batches.Mutation,
): ...


@strawberry.type
class Subscription(
    stock.Subscription, merchants.Subscription, cart.Subscription, orders.Subscription, riders.Subscription, failures.Subscription
): ...


schema = build(Query, Mutation, Subscription)
