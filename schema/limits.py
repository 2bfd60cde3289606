"""The numbers: how large and how dear a document may be, and what each thing of the API counts as."""

from dataclasses import dataclass

from domain.refusals import InvalidInput, Refused


@dataclass(frozen=True)
class Most:
    """What one document, and the operation asked of it, may have."""

    bytes: int = 16_384
    tokens: int = 1_000
    operations: int = 10
    fragments: int = 10
    spreads: int = 20
    inline: int = 40  # quoteCart's union has nine members, and four mutations may each name them all
    directives: int = 50
    aliases: int = 30
    # The deepest that a screen asks for is 10: merchant.orders.edges.node.delivery.order.lines.total.amount and the like.
    depth: int = 12
    mutations: int = 4
    repeats: int = 5  # of one field beside itself: whether they can be merged is asked for each pair
    values: int = 10  # nesting of a literal
    digits: int = 32
    cost: int = 5_000
    introspection_depth: int = 20


PAGE = 50
"""The most a page may have. More is the resolver's to refuse, and counted as what it says."""

LIST = 10
SIZES: dict[str, int] = {
    "Cart.lines": 20,
    "CartLine.modifiers": 4,
    "Customer.addresses": 5,
    "Listing.modifierGroups": 4,
    "Listing.siblings": 5,
    "ListingConnection.facets": 5,
    "Merchant.stores": 20,
    "ModifierGroup.options": 8,
    "Offer.deliveries": 3,
    "OfferFrame.offers": 5,
    "Order.charges": 5,
    "Purchase.orders": 3,
    "Query.categories": 50,
    "Quote.charges": 5,
    "Quote.parts": 3,
    "QuotePart.charges": 5,
    "Rider.offers": 5,
    "StockFrame.levels": 50,
    "Store.categories": 20,
    "Viewer.merchants": 3,
}
"""How long a list without `first` usually is: what is not named has LIST."""

WEIGHTS: dict[str, int] = {
    "Attribute": 0,  # of its row, as these are
    "Charge": 0,
    "Money": 0,
    "PageInfo": 0,
    "Point": 0,
    "ListingConnection.facets": 20,
    "Batch.diff": 200,  # it reads all of a batch, and all that its stores list
    "Support.stockAudit": 100,  # each of ten: it sums the whole ledger
    "totalCount": 10,  # a statement of its own
}
"""What a type, a type's field, or a field of any type costs: an object is 1 and a plain value 0 where nothing is said."""

MUTATION = 10

INTROSPECTED: dict[str, int] = {
    "fields": 8, "inputFields": 5, "args": 2, "interfaces": 1, "possibleTypes": 4, "enumValues": 6, "directives": 8,
}  # fmt: skip
"""How long introspection's lists are for one type. `types` is counted in the schema itself."""


def refused(message: str) -> Refused:
    return Refused(InvalidInput(message))
