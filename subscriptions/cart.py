"""What has become of what a customer put into the cart."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from db import cart as rows
from db import quotes, stock
from db.cart import LineRow
from db.merchants import stores_by_id
from domain.cart import CartChanged, CartItem, CartLine, CartProblem, problems_of, short
from domain.events import Event, Stamped
from domain.listings import ListingChanged, PriceChanged
from domain.merchants import StoreStatusChanged
from domain.money import Money
from domain.refusals import not_found
from domain.stock import StockChanged, StockLevel, units_by_listing
from resolvers.context import Context
from resolvers.grants import signed_in
from subscriptions.feeds import Feed, Snapshot, follow
from subscriptions.following import Changes, Following
from subscriptions.mailboxes import Values, by_entity

KINDS = (CartChanged, StockChanged, PriceChanged, ListingChanged, StoreStatusChanged)


@dataclass(frozen=True, slots=True)
class CartChange:
    """A line, and what is so of it now. All but its id is None of one that is in the cart no more."""

    line_id: UUID
    line: LineRow | None = None
    filled_price: Money | None = None
    price: Money | None = None
    stock: StockLevel | None = None
    problems: tuple[CartProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class CartFrame:
    cursor: str
    reset: bool
    degraded: bool
    changes: Sequence[CartChange]


def cart_changes(context: Context, hub: Following, after: str | None = None) -> AsyncGenerator[CartFrame, None]:
    """Every line of the caller's cart, then the latest of each that has become otherwise.

    Follows the cart: what is put in is followed from then on, what is taken out comes once more, without its line.
    Refuses NotFound to who is no customer, InvalidInput for a broken cursor.
    """
    customer_id = context.actor.id
    if customer_id is None:
        raise not_found("customer")
    followed = _Followed(context, hub)
    feed = Feed(
        name="cartChanges",
        arguments=(customer_id,),
        ids=(customer_id,),
        kinds=KINDS,
        snapshot=followed.snapshot,
        changes=followed.changes,
        allowed=partial(signed_in, context),
        mailbox=lambda: Values(by=_by),
        begin=followed.begin,
    )
    return follow(feed, CartFrame, hub, context.reads, after)


def _by(event: Event) -> object:
    """The latest of each, but every change of the cart: an older one may be all that tells of a line that is gone."""
    return (event.stream, event.entity, event.seq) if isinstance(event, CartChanged) else by_entity(event)


class _Followed:
    """The cart as this feed knows it. Levels come with their events, and are the most of what comes; the rest is read again."""

    def __init__(self, context: Context, hub: Following) -> None:
        self._context = context
        self._hub = hub
        self._joined: Changes | None = None
        self._lines: Sequence[LineRow] = ()
        self._items: Sequence[CartItem] = ()
        self._levels: dict[UUID, StockLevel] = {}
        self._open: Collection[UUID] = ()
        self._told: Mapping[UUID, CartChange] | None = None  # None while this process has told nothing: the client came back

    async def begin(self, joined: Changes) -> Collection[UUID]:
        self._joined = joined
        return await self._read_lines()

    async def snapshot(self) -> Snapshot[CartChange]:
        await self._read_lines()
        await self._read_details()
        await self._tell_as_read()
        self._told = await self._now()
        return Snapshot(list(self._told.values()), {})  # what an event brings that is here already is no news below

    async def changes(self, events: Sequence[Stamped]) -> Sequence[CartChange]:
        happened = [one.event for one in events]
        before = self._told
        if before is None or any(isinstance(event, CartChanged) for event in happened):
            await self._read_lines()
            await self._read_details()
        else:
            if any(isinstance(event, PriceChanged | ListingChanged) for event in happened):
                await self._read_items()
            if any(isinstance(event, StoreStatusChanged) for event in happened):
                await self._read_stores()
        if before is None or not all(isinstance(event, StockChanged) for event in happened):
            await self._tell_as_read()
        for event in happened:
            if isinstance(event, StockChanged):
                self._hear(event.level)
        self._told = now = await self._now()
        if before is None:
            return [*self._touched(happened, now), *_gone(happened, now)]
        changed = [one for id, one in now.items() if before.get(id) != one]
        return [*changed, *(CartChange(id) for id in before if id not in now)]

    # What is so

    async def _read_lines(self) -> Collection[UUID]:
        """Joins what is in the cart before the rest of it is read."""
        self._lines = (await rows.cart_of(self._context.reads, self._context.actor)).lines
        entities = {id for line in self._lines for id in (line.listing_id, line.store_id)}
        assert self._joined is not None
        self._joined.follow(entities)
        return entities

    async def _read_details(self) -> None:
        await self._read_items()
        self._levels = {
            level.listing_id: level
            for level in await stock.levels(self._context.reads, sorted({line.listing_id for line in self._lines}))
        }
        await self._read_stores()

    async def _read_items(self) -> None:
        lines = [CartLine(one.id, one.listing_id, one.quantity, one.modifier_ids, one.note) for one in self._lines]
        self._items = await rows.items(self._context.reads, lines)

    async def _read_stores(self) -> None:
        ids = sorted({line.store_id for line in self._lines})
        self._open = {store.id for store in await stores_by_id(self._context.reads, ids) if store.is_open} if ids else ()

    def _hear(self, level: StockLevel) -> None:
        known = self._levels.get(level.listing_id)
        if known is not None and known.version < level.version:  # what was read may be newer than what happened
            self._levels[level.listing_id] = level

    async def _tell_as_read(self) -> None:
        """Where levels came with their events nothing was read: then what many others keep of these stores stays good."""
        await self._hub.read({id for line in self._lines for id in (line.listing_id, line.store_id)}, KINDS)

    async def _now(self) -> dict[UUID, CartChange]:
        problems = problems_of(self._items, self._levels, self._open, await self._held())
        lines = {line.id: line for line in self._lines}
        return {
            item.line.id: CartChange(
                item.line.id,
                replace(lines[item.line.id], total=item.unit_price * item.line.quantity),
                lines[item.line.id].filled,
                item.unit_price,
                self._levels[item.line.listing_id],
                problems[item.line.id],
            )
            for item in self._items
        }

    async def _held(self) -> Mapping[UUID, int]:
        """What the customer's own quote holds is not what others have left for them. Asked where it decides."""
        wanted = units_by_listing((line.listing_id, line.quantity) for line in self._lines)
        if not any(short(units, self._levels[listing_id]) for listing_id, units in wanted.items()):
            return {}
        quote = await quotes.live_quote(self._context.reads, self._context.actor)
        return quote.held if quote is not None else {}

    # What is news to who came back

    def _touched(self, happened: Sequence[Event], now: Mapping[UUID, CartChange]) -> list[CartChange]:
        of: set[UUID] = set()
        for event in happened:
            of.update(event.listing_ids if isinstance(event, CartChanged) else (event.entity,))
        return [one for one in now.values() if one.line is not None and not of.isdisjoint((one.line.listing_id, one.line.store_id))]


def _gone(happened: Sequence[Event], now: Mapping[UUID, CartChange]) -> list[CartChange]:
    gone = {id: None for event in happened if isinstance(event, CartChanged) for id in event.gone_ids}
    return [CartChange(id) for id in gone if id not in now]
