# ruff: noqa: E501  (a table reads as a list of columns)
# fmt: off
"""Every table. UUIDv7 keys made in Python, money in minor units, `version` where written concurrently.

`merchant_id` stands on everything a merchant owns. Statements live in the noun's own file.
"""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKeyConstraint, Index, MetaData, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from db.columns import (
    KEY,
    TIME,
    count,
    created,
    currency,
    document,
    flag,
    key,
    minor,
    not_negative,
    now,
    text,
    time,
    version,
    word,
)
from db.words import vector, weighted
from domain.audit import NOBODYS
from domain.batches import Decision
from domain.befores import Part
from domain.catalog import Diet, ProductKind, Unit
from domain.conflicts import Claim, ConflictState
from domain.delivery import DeliveryStatus, OfferStatus
from domain.events import Topic
from domain.failures import FailureFilter
from domain.identity import ActorKind, App, MerchantRole
from domain.intake import EntityKind, FailureKind, FailureState, Family, InstructionState, PayloadState
from domain.judgement import Rule
from domain.merchants import StoreState, StoreStatus
from domain.orders import Fulfilment, OrderStatus, ReasonCode
from domain.outbound import OrderNews
from domain.payments import PaymentMethod, PaymentStatus
from domain.pictures import PictureState
from domain.places import PostalAddress
from domain.pricing import Charge, Tax
from domain.proofs import Proof
from domain.quotes import QuotePart
from domain.replays import ReplayState
from domain.stock import CountDrops, StockMovementKind
from domain.telling import TellingState
from domain.truth import Field
from domain.undos import LineState, UndoState

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s",
})


def _table(name: str, *parts: sa.schema.SchemaItem) -> Table:
    return Table(name, metadata, *parts)


# ---------------------------------------------------------------- identity

user_account = _table(
    "user_account",
    key(primary=True), text("name"), text("phone", null=True, unique=True), text("email", null=True, unique=True),
    text("password_hash", null=True), flag("is_support"), time("phone_proved_at"), time("banned_at"), created(),
    count("grants", 1),  # grows whenever what the user may see changes: feeds that run look again
)
session = _table(
    "session",
    key(primary=True), key("user_id", of="user_account"), word("app", App), created(), time("expires_at", null=False),
    time("revoked_at"), text("revoked_because", null=True),
    Index(None, "user_id"),
)
refresh_token = _table(
    "refresh_token",
    Column("hash", sa.LargeBinary, primary_key=True), key("session_id", of="session"), created(), time("used_at"),
    Index(None, "session_id"),
)
otp = _table(
    "otp",
    text("phone", primary_key=True), Column("code_hash", sa.LargeBinary, nullable=False), time("expires_at", null=False),
    count("tries_left"), created(),
)
address = _table(
    "address",
    key(primary=True), key("customer_id", of="user_account"), document("body", PostalAddress), created(), time("archived_at"),
    Index(None, "customer_id"),
)

# ---------------------------------------------------------------- merchants

merchant = _table("merchant", key(primary=True), text("name"), text("slug", unique=True), created())
merchant_member = _table(
    "merchant_member",
    key("merchant_id", of="merchant", primary=True), key("user_id", of="user_account", primary=True), word("role", MerchantRole),
    Index(None, "user_id"),
)
# The stores of a CLERK. An OWNER or a MANAGER has all of the merchant's.
member_store = _table(
    "member_store",
    key("merchant_id", primary=True), key("user_id", primary=True), key("store_id", of="store", primary=True),
    ForeignKeyConstraint(["merchant_id", "user_id"], ["merchant_member.merchant_id", "merchant_member.user_id"]),
    Index(None, "user_id"),
)
store = _table(
    "store",
    key(primary=True), key("merchant_id", of="merchant"), text("slug", unique=True), text("name"), text("city"),
    Column("lat", sa.Float, nullable=False), Column("lng", sa.Float, nullable=False), text("time_zone", server_default="Asia/Kolkata"),
    word("status", StoreStatus, server_default="OPEN"), time("status_until"), text("status_reason", null=True),
    Column("look_at", TIME, server_default=now), document("told", StoreState, null=True),  # when its state may be another; what was told of it
    count("prep_minutes", 20), count("radius_m", 5000), minor("delivery_minor", 0), minor("packaging_minor", 0), minor("minimum_minor", 0),
    currency(), flag("counts_hidden"), flag("self_delivery"), flag("cash_allowed", True), version(), created(), time("archived_at"),
    Column("search", TSVECTOR, sa.Computed(vector("name || ' ' || city"), persisted=True)),
    Index(None, "merchant_id"), Index(None, "lat", "lng"), Index(None, "look_at"), Index(None, "name", "id"), Index(None, "search", postgresql_using="gin"),
    *not_negative("delivery_minor", "packaging_minor", "minimum_minor"),
)
# Minutes from the local day's midnight. `closes` past 1440 runs into the next day. weekday: Monday is 0.
store_hours = _table(
    "store_hours",
    key("store_id", of="store", primary=True), Column("weekday", sa.SmallInteger, primary_key=True),
    Column("opens", sa.SmallInteger, primary_key=True), Column("closes", sa.SmallInteger, nullable=False),
    sa.CheckConstraint("0 <= opens AND opens < closes AND closes <= opens + 1440 AND opens < 1440", "span"),
)
# A date that is not as its weekday: with `opens` null it is closed all day.
store_hours_exception = _table(
    "store_hours_exception",
    key(primary=True), key("store_id", of="store"), Column("day", sa.Date, nullable=False),
    Column("opens", sa.SmallInteger), Column("closes", sa.SmallInteger),
    Index(None, "store_id", "day"),
)

# ---------------------------------------------------------------- catalog

category = _table(
    "category",
    key(primary=True), key("parent_id", of="category", null=True), text("name"), Column("path", ARRAY(sa.Text), nullable=False, unique=True),
    Index(None, "parent_id"),
)
product = _table(
    "product",
    key(primary=True), key("merchant_id", of="merchant"), word("kind", ProductKind, server_default="GOOD"), text("name"),
    text("description", null=True), text("brand", null=True), key("category_id", of="category", null=True), word("diet", Diet, null=True),
    Column("images", ARRAY(sa.Text), nullable=False, server_default="{}"),
    Column("attributes", JSONB, nullable=False, server_default="{}"), version(), created(),
    Column("copies", ARRAY(sa.Text), nullable=False, server_default="{}"),  # by the place of each image, the hash of ours
    Column("search", TSVECTOR, sa.Computed(
        weighted(("name", "A"), ("coalesce(brand, '')", "B"), ("coalesce(description, '')", "D")), persisted=True)),
    Index(None, "merchant_id", "id"), Index(None, "search", postgresql_using="gin"), Index(None, "category_id", "merchant_id"),
)
# Where pictures lie that sources have told of, and what was found there: ours, by its SHA-256. See domain/pictures.py.
picture = _table(
    "picture",
    Column("digest", sa.LargeBinary, primary_key=True), text("url"), text("host"), word("state", PictureState), count("attempts"),
    created("next_at"), Column("image", sa.LargeBinary), text("problem", null=True), created(),
    Index("ix_picture_due", "host", "next_at", postgresql_where=sa.text("state IN ('WANTED', 'FETCHED')")),
    Index("ix_picture_failed", "digest", postgresql_where=sa.text("state = 'FAILED'")),
)
# Which products show it. No key of theirs: it is written before a new one is.
picture_use = _table("picture_use", key("product_id", primary=True), Column("digest", sa.LargeBinary, primary_key=True), Index(None, "digest", "product_id"))
image = _table(
    "image",
    Column("hash", sa.LargeBinary, primary_key=True), text("blob", unique=True), text("content_type"), count("size"), created(),
)
variant = _table(
    "variant",
    key(primary=True), key("merchant_id", of="merchant"), key("product_id", of="product"), text("name", server_default=""), text("sku"),
    text("barcode", null=True), word("unit", Unit, server_default="PIECE"), count("rank"),
    UniqueConstraint("merchant_id", "sku"), Index(None, "product_id"), Index(None, "barcode"),
)
# `name` is the product's, kept beside the price so that one index gives a store's page in order. `told_at` is when the last word of
# it came, from whomever: of a source when we received it, however late it was carried out.
listing = _table(
    "listing",
    key(primary=True), key("merchant_id", of="merchant"), key("store_id", of="store"), key("product_id", of="product"),
    key("variant_id", of="variant"), text("name"), minor("price_minor"), minor("mrp_minor", null=True), minor("packaging_minor", 0),
    currency(), flag("active", True), count("max_per_order", None, null=True), version(), created(), time("told_at", null=False),
    document("taxes", tuple[Tax, ...], null=True),
    UniqueConstraint("store_id", "variant_id"), Index(None, "merchant_id", "id"), Index(None, "variant_id"),
    Index(None, "store_id", "product_id"), Index(None, "product_id"),
    Index("ix_listing_page", "store_id", "id", postgresql_where=sa.text("active")),
    Index("ix_listing_by_name", "store_id", "name", "id", postgresql_where=sa.text("active")),
    Index("ix_listing_by_price", "store_id", "price_minor", "id", postgresql_where=sa.text("active")),
    sa.CheckConstraint("mrp_minor IS NULL OR price_minor <= mrp_minor", "price_within_mrp"),
    *not_negative("price_minor", "packaging_minor"),
)
# A choice as one store offers it: POS menus are pushed a store at a time.
modifier_group = _table(
    "modifier_group",
    key(primary=True), key("merchant_id", of="merchant"), key("store_id", of="store"), text("name"), text("external_id"),
    UniqueConstraint("store_id", "external_id"),
)
modifier = _table(
    "modifier",
    key(primary=True), key("merchant_id", of="merchant"), key("store_id", of="store"), key("group_id", of="modifier_group"), text("name"),
    text("external_id"), minor("price_minor", 0), currency(), flag("active", True), flag("off"), time("back_at"), count("rank"),
    UniqueConstraint("group_id", "external_id"), Index(None, "store_id", "external_id"), *not_negative("price_minor"),
)
# How a listing offers a group: how many may be chosen belongs to the pair, not to the group.
listing_modifier_group = _table(
    "listing_modifier_group",
    key(primary=True), key("listing_id", of="listing"), key("group_id", of="modifier_group"), count("min"), count("max"), count("rank"),
    UniqueConstraint("listing_id", "group_id"), Index(None, "group_id"), sa.CheckConstraint("0 <= min AND min <= max", "min_within_max"),
)

# ---------------------------------------------------------------- stock

stock_level = _table(
    "stock_level",
    key("listing_id", of="listing", primary=True), key("store_id", of="store"), key("merchant_id", of="merchant"),
    flag("tracked"), flag("off"), time("back_at"), *(count(name) for name in ("on_hand", "held", "allocated", "buffer")), count("low_at", 5),
    flag("counts_hidden"), flag("stale"), version(), Column("as_of", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    time("counted_at"), text("source", server_default="none"),
    Index(None, "merchant_id", "store_id"), Index(None, "store_id"),
    Index("ix_stock_level_back_at", "back_at", postgresql_where=sa.text("off AND back_at IS NOT NULL")),
    Index("ix_stock_level_at_risk", "listing_id", postgresql_where=sa.text("on_hand < allocated + held")),
    *not_negative("on_hand", "held", "allocated", "buffer"),
)
# The row is the right to the units: whoever deletes it moves the counter.
stock_hold = _table(
    "stock_hold",
    Column("quote_id", KEY, sa.ForeignKey("quote.id", deferrable=True, initially="DEFERRED"), primary_key=True),  # held, then written down
    key("listing_id", of="listing", primary=True), count("units", None), time("expires_at", null=False),
    Index(None, "listing_id"), Index(None, "expires_at"), sa.CheckConstraint("units > 0", "units_positive"),
)
stock_allocation = _table(
    "stock_allocation",
    key("order_id", of="orders", primary=True), key("listing_id", of="listing", primary=True), count("units", None), created(),
    Index(None, "listing_id"), sa.CheckConstraint("units > 0", "units_positive"),
)
# Append-only. Every counter equals the sum of its movements.
stock_movement = _table(
    "stock_movement",
    key(primary=True), key("listing_id", of="listing"), key("merchant_id", of="merchant"), word("kind", StockMovementKind),
    *(count(name) for name in ("on_hand_delta", "held_delta", "allocated_delta")), text("cause"),
    Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    key("order_id", null=True), key("source_id", null=True), time("source_at"), count("told", None, null=True),
    text("once", null=True),  # a source's own id of a change, which is made once
    Index("uq_stock_movement_once", "source_id", "once", "listing_id", unique=True, postgresql_where=sa.text("once IS NOT NULL")),
    Index(None, "listing_id", "id"),
    Index("ix_stock_movement_sold", "listing_id", "at", postgresql_where=sa.text("kind IN ('SOLD', 'RETURNED') AND order_id IS NOT NULL")),
    Index("ix_stock_movement_order", "order_id", postgresql_where=sa.text("kind IN ('SOLD', 'RETURNED')")),
    Index("ix_stock_movement_source", "source_id", "listing_id", "source_at", postgresql_where=sa.text("source_id IS NOT NULL")),
)

# ---------------------------------------------------------------- cart and quote

cart = _table("cart", key(primary=True), key("customer_id", of="user_account", unique=True), version(0), created())
cart_line = _table(
    "cart_line",
    key(primary=True), key("cart_id", of="cart"), key("listing_id", of="listing"), count("quantity", None),
    Column("modifier_ids", ARRAY(KEY), nullable=False, server_default="{}"), text("note", null=True),
    minor("filled_minor"),
    UniqueConstraint("cart_id", "listing_id", "modifier_ids", "note", postgresql_nulls_not_distinct=True),
    sa.CheckConstraint("quantity > 0", "quantity_positive"),
)
quote = _table(
    "quote",
    key(primary=True), key("customer_id", of="user_account"), document("parts", tuple[QuotePart, ...]), document("charges", tuple[Charge, ...]),
    minor("total_minor"), currency(), word("fulfilment", Fulfilment), document("address", PostalAddress, null=True),
    document("held", dict[UUID, int]), created(), time("expires_at", null=False), time("ended_at"), key("purchase_id", null=True),
    # A customer has one live quote: placed, replaced and released ones have ended.
    Index("uq_quote_live", "customer_id", unique=True, postgresql_where=sa.text("ended_at IS NULL")),
)

# ---------------------------------------------------------------- purchase, payment, order

purchase = _table(
    "purchase",
    key(primary=True), text("number", unique=True), key("quote_id", of="quote", unique=True), key("customer_id", of="user_account"),
    minor("total_minor"), currency(), created(),
    Index(None, "customer_id", "id"),
)
payment = _table(
    "payment",
    key(primary=True), key("purchase_id", of="purchase", unique=True), word("method", PaymentMethod), word("status", PaymentStatus),
    minor("amount_minor"), minor("refunded_minor", 0), currency(), text("gateway", null=True), text("gateway_ref", null=True),
    text("client_secret", null=True, unique=True), text("declined", null=True), time("pay_by"), version(), created(),
    UniqueConstraint("gateway", "gateway_ref"),
    Index("ix_payment_pay_by", "pay_by", postgresql_where=sa.text("status = 'PENDING'")),
    sa.CheckConstraint("refunded_minor <= amount_minor", "refunded_within_amount"), *not_negative("amount_minor", "refunded_minor"),
)
# What the gateway has still to give back, and has given back.
refund = _table(
    "refund",
    key(primary=True), key("payment_id", of="payment"), key("order_id", of="orders", null=True), minor("amount_minor"), currency(),
    text("reason"), text("gateway_ref", null=True), created(), time("done_at"), count("attempts"), time("next_at"),
    UniqueConstraint("payment_id", "order_id", "reason", postgresql_nulls_not_distinct=True),
    Index("ix_refund_due", "next_at", postgresql_where=sa.text("done_at IS NULL")),
)
orders = _table(
    "orders",
    key(primary=True), text("number", unique=True), key("purchase_id", of="purchase"), key("merchant_id", of="merchant"),
    key("store_id", of="store"), key("customer_id", of="user_account"), word("status", OrderStatus), version(),
    word("fulfilment", Fulfilment), minor("total_minor"), minor("refunded_minor", 0), currency(), document("charges", tuple[Charge, ...]),
    text("customer_name"), document("address", PostalAddress, null=True), text("handover_code"), count("code_tries_left", 5), count("prep_minutes", 0), flag("at_risk"), flag("short"),
    created(), time("placed_at"), time("accept_by"), time("accepted_at"), time("promised_at"), time("picked_up_at"), time("ended_at"),
    Index(None, "store_id", "status", "id"), Index(None, "store_id", "id"), Index(None, "merchant_id", "id"), Index(None, "customer_id", "id"),
    Index(None, "purchase_id"),
    Index("ix_orders_at_risk", "id", postgresql_where=sa.text("at_risk")),
    Index("ix_orders_accept_by", "accept_by", postgresql_where=sa.text("status = 'PLACED'")),
    sa.CheckConstraint("refunded_minor <= total_minor", "refunded_within_total"), *not_negative("total_minor", "refunded_minor"),
)
order_line = _table(
    "order_line",
    key(primary=True), key("order_id", of="orders"), key("listing_id", of="listing"), key("variant_id", of="variant"), text("name"), text("sku"),
    count("quantity", None), minor("unit_price_minor"), minor("total_minor"), currency(), Column("modifiers", ARRAY(sa.Text), nullable=False, server_default="{}"),
    text("note", null=True), count("rank"),
    Index(None, "order_id", "rank"),
)
# What people said about a step of an order, beside the log: what they write may be private, and the log goes everywhere.
order_note = _table(
    "order_note",
    key("order_id", of="orders", primary=True), Column("seq", sa.Integer, primary_key=True), text("note"),
)
# Inserted before the work, in its transaction: the second of two equal calls waits here for the first.
idempotency = _table(
    "idempotency",
    key("actor_id", primary=True), text("operation", primary_key=True), text("key", primary_key=True),
    Column("request_hash", sa.LargeBinary, nullable=False), key("result_id"), created(),
)

# ---------------------------------------------------------------- delivery

rider = _table(
    "rider",
    key(of="user_account", primary=True), flag("on_duty"), version(0), time("duty_since"), created(),
    Index("ix_rider_on_duty", "id", postgresql_where=sa.text("on_duty")),
)
delivery = _table(
    "delivery",
    key(primary=True), key("order_id", of="orders", unique=True), key("merchant_id", of="merchant"), key("store_id", of="store"),
    key("rider_id", of="rider", null=True), word("status", DeliveryStatus), version(), minor("cash_minor", 0), currency(),
    minor("pay_minor", 0), count("distance_m", 0), created(), time("search_until"), time("escalated_at"),
    time("assigned_at"), time("eta_at"), time("ended_at"), document("track", list[tuple[float, float, int]], default="[]"),
    Index(None, "rider_id", "id"), Index("ix_delivery_under_way", "rider_id", postgresql_where=sa.text("ended_at IS NULL")),
    Index("ix_delivery_live", "store_id", postgresql_where=sa.text("ended_at IS NULL")),
    Index("ix_delivery_searching", "created_at", postgresql_where=sa.text("status = 'SEARCHING'")),
)
offer = _table(
    "offer",
    key(primary=True), key("rider_id", of="rider"), word("status", OfferStatus), version(), minor("pay_minor"), currency(), count("distance_m"),
    created(), time("expires_at", null=False), time("ended_at"), word("reason", ReasonCode, null=True), text("pay_rule"),
    Index(None, "rider_id", "id"), Index("uq_offer_open_rider", "rider_id", unique=True, postgresql_where=sa.text("status = 'OPEN'")),
    Index("ix_offer_open", "expires_at", postgresql_where=sa.text("status = 'OPEN'")),
)
offer_delivery = _table(
    "offer_delivery",
    key("offer_id", of="offer", primary=True), key("delivery_id", of="delivery", primary=True), flag("open", True),
    # Exclusive: a delivery is in one open offer at a time.
    Index("uq_offer_delivery_open", "delivery_id", unique=True, postgresql_where=sa.text("open")),
    Index(None, "delivery_id"),
)
# The slow copy of Redis's latest positions, for when Redis is away: at most one write in ten seconds a rider.
rider_position = _table(
    "rider_position",
    key("rider_id", of="rider", primary=True), Column("lat", sa.Float, nullable=False), Column("lng", sa.Float, nullable=False),
    Column("heading", sa.SmallInteger), time("at", null=False), text("device_id"), Column("seq", sa.BigInteger, nullable=False),
)

# ---------------------------------------------------------------- intake

source = _table(
    "source",
    key(primary=True), key("merchant_id", of="merchant"), text("provider"), word("family", Family), flag("enabled", True),
    word("count_drops", CountDrops, server_default="AT_PICKUP"), Column("ip_allow", ARRAY(sa.Text), nullable=False, server_default="{}"),
    time("last_seen_at"), count("received"), count("failed"), created(),
    # How often it should speak (null: when it likes), since when it has not; up to where the levels of a silent one are marked.
    count("expected_every_s", None, null=True), time("silent_since"), key("marked_to", null=True), version(0),
    document("proof", Proof, null=True),  # null: its provider's
    flag("may_create", True),  # off: it speaks of goods that are there, and what it names besides waits to be mapped
    Index(None, "merchant_id"), Index(None, "provider"),
    # What people do by hand is the word of a source too: each merchant has one.
    Index("uq_source_dashboard", "merchant_id", unique=True, postgresql_where=sa.text("provider = 'dashboard'")),
)
# Several live at once. A URL's token by its hash alone; any other is sealed, since verifying needs it.
source_secret = _table(
    "source_secret",
    key(primary=True), key("source_id", of="source"), Column("hash", sa.LargeBinary, nullable=True, unique=True),
    Column("sealed", sa.LargeBinary, nullable=True), created(), time("not_before"), time("not_after"),
    Index(None, "source_id"),
)
# Of a provider that is asked: where and with what, sealed.
source_access = _table(
    "source_access",
    key("source_id", of="source", primary=True), text("base_url"), Column("sealed", sa.LargeBinary, nullable=False),
    Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
)
# Up to when it has told us, and when it is asked next. `held_until` is the right of the one worker that asks it now; `budget` are
# the calls it may be sent, as it was at `budget_at`.
source_cursor = _table(
    "source_cursor",
    key("source_id", of="source", primary=True), time("told_until"),
    Column("next_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()), time("held_until"),
    count("failed"), text("message", null=True), Column("budget", sa.Float, nullable=False, server_default="0"), time("budget_at"),
    Index(None, "next_at"),
)
# Whether it is told of its stores' orders, since when, and when next. `held_until`, `failed` and `budget` as of `source_cursor`.
source_telling = _table(
    "source_telling",
    key("source_id", of="source", primary=True), time("since"),
    Column("next_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()), time("held_until"),
    count("failed"), text("message", null=True), Column("budget", sa.Float, nullable=False, server_default="0"), time("budget_at"),
)
# As it was said, version after version; the active one is what its source's payloads are read by.
source_profile = _table(
    "source_profile",
    key("source_id", of="source", primary=True), Column("version", sa.Integer, primary_key=True, autoincrement=False), flag("active"),
    flag("assumed"), text("name"), text("document"), text("created_by"), created(),
    Index("uq_source_profile_active", "source_id", unique=True, postgresql_where=sa.text("active")),
)
mapping = _table(
    "mapping",
    key("source_id", of="source", primary=True), word("kind", EntityKind, primary_key=True), text("external_id", primary_key=True),
    key("merchant_id", of="merchant"), key("id"), created(), text("size_id", null=True),  # of a variant: what its size alone is called
    Index(None, "source_id", "kind", "id"),
    # What ends alike begins alike: all that an option makes of items. See db/sources.py.
    Column("backwards", sa.Text(collation="C"), sa.Computed("reverse(external_id)", persisted=True), nullable=False),
    Index("ix_mapping_backwards", "source_id", "backwards", postgresql_where=sa.text("kind = 'VARIANT'")),
)
payload = _table(
    "payload",
    key(primary=True), key("source_id", of="source", null=True), key("merchant_id", null=True), text("provider"), word("family", Family),
    text("door"), Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    Column("headers", JSONB, nullable=False), Column("body", sa.LargeBinary, nullable=False), text("blob", null=True), count("size"),
    Column("sha256", sa.LargeBinary, nullable=False),  # of what came, as `size` is: `body` is empty where `blob` names where it lies
    word("state", PayloadState), text("dedupe_key", null=True), text("correlation_id"), text("remote", null=True), flag("translated", True),
    flag("judged", True), count("stage"),  # a whole push is judged before it runs; a batch is done stage by stage, and has come to this one
    flag("overdue"),  # its body could not go in its time: somebody may still need it
    Index("uq_payload_dedupe", "source_id", "dedupe_key", unique=True, postgresql_where=sa.text("state NOT IN ('DUPLICATE', 'REJECTED')")),
    # Of a payment gateway, which is nobody's source: its own id of the news, after its name.
    Index("uq_payload_gateway_dedupe", "dedupe_key", unique=True, postgresql_where=sa.text("source_id IS NULL AND state NOT IN ('DUPLICATE', 'REJECTED')")),
    Index(None, "source_id", "door", "id"), Index(None, "source_id", "state", "id"), Index(None, "merchant_id", "id"),
    Index("uq_payload_blob", "blob", unique=True, postgresql_where=sa.text("blob IS NOT NULL")),
    Index("ix_payload_untranslated", "id", postgresql_where=sa.text("NOT translated")),
    Index("ix_payload_unjudged", "id", postgresql_where=sa.text("NOT judged")),
    Index("ix_payload_overdue", "id", postgresql_where=sa.text("overdue")),
)
instruction = _table(
    "instruction",
    key(primary=True), key("payload_id", of="payload"), key("source_id", of="source", null=True), key("merchant_id", null=True),
    count("ordinal"), text("command"), text("entity"), count("stage"), Column("body", JSONB, nullable=False), word("state", InstructionState),
    count("attempts"), time("next_at", null=False), text("waits_for", null=True), created(), time("done_at"),
    Column("number", sa.BigInteger, sa.Identity(), nullable=False),  # in which order they are told to others: see workers/mirror.py
    Column("was", JSONB(none_as_null=True)),  # what it has changed, as it was before: while its batch can be undone
    Index("ix_instruction_was", "id", postgresql_where=sa.text("was IS NOT NULL")),
    # In order for each entity: the one that is WAITING or PARKED and whose payload came first.
    Index("ix_instruction_queue", "source_id", "next_at", "stage", "id", postgresql_where=sa.text("state = 'WAITING'")),
    Index(
        "ix_instruction_entity", "source_id", "entity", "payload_id", "id",
        postgresql_where=sa.text("state IN ('WAITING', 'PARKED')"),
    ),
    Index("ix_instruction_parked", "merchant_id", "waits_for", postgresql_where=sa.text("state = 'PARKED'")),
    Index("ix_instruction_stage", "payload_id", "stage", postgresql_where=sa.text("state = 'WAITING'")),
    Index(None, "payload_id", "ordinal"), Index(None, "number"),
)
# The newest version and time each source has told of one field of one entity: older news loses here.
told = _table(
    "told",
    key("source_id", of="source", primary=True), text("field", primary_key=True), key("entity_id", primary=True),
    Column("source_version", sa.BigInteger), time("at", null=False), created("heard_at"),
)
# Who alone is believed about a field of what is a store's own. Where there is no row everybody is.
source_of_truth = _table(
    "source_of_truth",
    key("store_id", of="store", primary=True), word("field", Field, primary_key=True), key("merchant_id", of="merchant"),
    key("source_id", of="source"), created("set_at"),
    Index(None, "merchant_id"),
)
# What a source claims where another is believed: one row for each source, field and entity (a listing, or the store).
source_conflict = _table(
    "source_conflict",
    key(primary=True), key("merchant_id", of="merchant"), key("store_id", of="store"), word("field", Field), key("entity_id"),
    key("source_id", of="source"), key("owner_id", of="source"), word("state", ConflictState), document("claimed", Claim), document("stands", Claim),
    Column("source_version", sa.BigInteger), time("said_at", null=False), count("times", 1), created("first_at"), created("last_at"), version(),
    UniqueConstraint("source_id", "field", "entity_id"), Index(None, "merchant_id", "id"),
    Index("ix_source_conflict_open", "entity_id", postgresql_where=sa.text("state = 'OPEN'")),
    Index("ix_source_conflict_open_store", "store_id", "field", postgresql_where=sa.text("state = 'OPEN'")),
)
failure = _table(
    "failure",
    key(primary=True), word("kind", FailureKind), word("state", FailureState), text("message"), key("payload_id", of="payload"),
    key("instruction_id", of="instruction", null=True), key("merchant_id", null=True), key("source_id", null=True), text("provider"),
    Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()), count("replays"), text("note", null=True), version(),
    text("fingerprint", server_default=""), key("store_id", null=True), Column("search", TSVECTOR, sa.Computed(vector("message"), persisted=True)),
    Index(None, "merchant_id", "id"), Index(None, "provider", "id"), Index(None, "instruction_id"), Index(None, "payload_id"),
    Index(None, "store_id", "id", postgresql_where=sa.text("store_id IS NOT NULL")), Index(None, "search", postgresql_using="gin"),
    # From group to group, and to the newest of one in each state.
    Index("ix_failure_group", "merchant_id", "fingerprint", "state", "id", postgresql_include=["at"]),
    Index("ix_failure_group_of_all", "fingerprint", "state", "id", postgresql_include=["at"]),
)
# Blobs that may have no row: written down before they are put, and as their row goes.
blob_stray = _table("blob_stray", text("key", primary_key=True), created("at"), Index(None, "at"))
# How far each pass over what has grown old has come; `began_at` is when it last began at the first.
retention = _table("retention", text("task", primary_key=True), key("after_id"), created("began_at"))
# What a source is told of an order, in the log's order. `since` when it is tried, and for how long; `payload_id` says that it failed,
# `refused` that the till has said no, `parked` that it waits for a mapping; `reference` is what the till calls the order.
# No key of the order's: who follows the log waits for none that is moved.
telling = _table(
    "telling",
    key(primary=True), key("source_id", of="source"), key("order_id"), key("merchant_id"),
    word("news", OrderNews), count("seq"), Column("pos", sa.BigInteger, nullable=False), word("state", TellingState, server_default="WAITING"),
    count("attempts"), *(Column(name, TIME, nullable=False, server_default=sa.func.clock_timestamp()) for name in ("since", "next_at")),
    Column("try_for", sa.Interval, nullable=False), flag("refused"), flag("parked"), text("reference", null=True), text("message", null=True),
    key("payload_id", null=True), time("done_at"),
    UniqueConstraint("source_id", "order_id", "news", "seq"),
    Index("ix_telling_waiting", "source_id", "pos", postgresql_where=sa.text("state = 'WAITING'")),
    Index("ix_telling_failed", "payload_id", postgresql_where=sa.text("payload_id IS NOT NULL")),
    Index("ix_telling_reference", "source_id", "reference", postgresql_where=sa.text("reference IS NOT NULL")),
)
# A whole push that would do too much, and what people have decided about it. `percent` is the figure of the rule that held it.
judgement = _table(
    "judgement",
    key("payload_id", of="payload", primary=True), key("merchant_id", of="merchant"), key("source_id", of="source"),
    word("state", Decision), word("rule", Rule), Column("percent", sa.Float), text("message"), key("failure_id", of="failure"),
    created("parked_at"), time("decided_at"), word("by_kind", ActorKind, null=True), key("by_id", null=True), text("reason", null=True),
    Index(None, "merchant_id", "state", "payload_id"), Index(None, "state", "payload_id"),
)
# A batch that is undone: first what it has changed is listed, then each of it is put back, or kept with the reason.
batch_undo = _table(
    "batch_undo",
    key(primary=True), key("payload_id", of="payload", unique=True), key("merchant_id", of="merchant"), key("source_id", of="source"),
    word("by_kind", ActorKind), key("by_id"), word("state", UndoState), count("read_to", -1), flag("listed"),
    *(count(name) for name in ("total", "reverted", "kept")), created("started_at"), time("ended_at"),
    Index("ix_batch_undo_running", "id", postgresql_where=sa.text("state = 'RUNNING'")),
)
# One field of one thing: as it was before the first instruction that changed it, and after the last one.
undo_line = _table(
    "undo_line",
    key("undo_id", of="batch_undo", primary=True), word("field", Part, primary_key=True), key("entity_id", primary=True),
    key("id", unique=True), count("rank"), word("state", LineState), count("first_version"), version(0),
    Column("before", JSONB, nullable=False), Column("after", JSONB, nullable=False), time("told_at", null=False),
    Column("told_version", sa.BigInteger), text("reason", null=True), text("changed_by", null=True), time("changed_at"),
    Index(None, "undo_id", "state", "id"),
    Index("ix_undo_line_waiting", "undo_id", "rank", "entity_id", "field", postgresql_where=sa.text("state = 'WAITING'")),
)
# Failures that fit a filter, tried again in the background. `chunk` are those that were handed over last.
replay_job = _table(
    "replay_job",
    key(primary=True), key("merchant_id", null=True), word("by_kind", ActorKind), key("by_id"), document("which", FailureFilter), word("state", ReplayState),
    *(count(name) for name in ("total", "done", "applied", "already_applied", "failed_again", "refused", "under_way")),
    key("after_id", null=True), key("until_id"), Column("chunk", ARRAY(KEY), nullable=False, server_default="{}"), time("chunk_at"),
    created("started_at"), time("ended_at"), version(),
    Index(None, "merchant_id", "id"), Index("ix_replay_job_running", "id", postgresql_where=sa.text("state = 'RUNNING'")),
)

# ---------------------------------------------------------------- log and audit

# The outbox. `id` is the order of writing inside a stream, `pos` the order of the whole log, stamped by the relay.
event = _table(
    "event",
    Column("id", sa.BigInteger, sa.Identity(), primary_key=True), Column("pos", sa.BigInteger, unique=True), word("topic", Topic), text("kind"), text("stream"),
    key("entity_id"), count("seq", None), Column("body", JSONB, nullable=False), Column("concerns", ARRAY(KEY), nullable=False),
    Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()), text("caused_by", server_default=""),
    text("correlation_id", server_default=""),
    UniqueConstraint("stream", "entity_id", "seq"),
    Index("ix_event_unstamped", "id", postgresql_where=sa.text("pos IS NULL")),
)
# How far each of those who read the log for themselves has come, and when they last told of something: of groups of failures up to
# when something has gone by untold.
sink = _table("sink", text("name", primary_key=True), Column("pos", sa.BigInteger, nullable=False, server_default="0"), time("at"))
# One row: which history `pos` counts. Another epoch means another database, and every cursor starts afresh.
log_epoch = _table("log_epoch", Column("epoch", sa.Text, primary_key=True))
# Only ever added to, and each entry sealed to the one before: a trigger refuses what would change or take away.
audit = _table(
    "audit",
    key(primary=True), Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()), text("actor"),
    text("action"), key("subject"), key("merchant_id", null=True), text("detail"),
    Column("chain", KEY, sa.Computed(f"coalesce(merchant_id, '{NOBODYS}'::uuid)", persisted=True), nullable=False),
    Column("seq", sa.BigInteger, nullable=False), Column("hash", sa.LargeBinary, nullable=False),
    UniqueConstraint("chain", "seq"), Index(None, "subject", "id"),
)
# Where each chain of the audit has come to. Locked last of all; goes forward alone.
audit_head = _table(
    "audit_head",
    key("chain", primary=True), Column("seq", sa.BigInteger, nullable=False), Column("hash", sa.LargeBinary, nullable=False),
)
