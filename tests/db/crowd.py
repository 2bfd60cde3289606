# ruff: noqa: E501  (a statement reads as a list of columns)
"""A country of shops, made by a few statements: how a read is planned shows only where there is much to read."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.places import Point

CITIES = 50
AISLES, SHELVES = 20, 10
BRANDS = 300
GROUPS = 5  # of failures that are alike, of each merchant


@dataclass(frozen=True)
class Size:
    """`stores` is a multiple of `chains`: a merchant's stores all sell the same `goods`, of two sizes each."""

    chains: int
    stores: int
    goods: int
    orders: int

    @property
    def listings(self) -> int:
        return self.stores * self.goods * 2


@dataclass(frozen=True)
class Crowd:
    """Somebody and something out of the middle of it."""

    merchant_id: UUID
    store_id: UUID
    owner_id: UUID
    customer_id: UUID
    source_id: UUID
    payload_id: UUID
    category_id: UUID
    near: Point


# Keys that are as easily told as random ones: kind, chain, number.
FUNCTIONS = """
CREATE FUNCTION pg_temp.key(kind int, place int, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT (lpad(to_hex(number), 8, '0') || '-' || lpad(to_hex(place), 4, '0') || '-7000-8000-' || lpad(to_hex(kind), 12, '0'))::uuid $$;
CREATE FUNCTION pg_temp.word(number bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT syllable[1 + number % 20] || syllable[1 + number / 20 % 20] || CASE WHEN number % 3 = 0 THEN '' ELSE syllable[1 + number / 400 % 20] END
  FROM (VALUES (ARRAY['gar', 'lic', 'ri', 'ce', 'ma', 'sa', 'la', 'gre', 'en', 'or', 'ga', 'nic', 'ro', 'st', 'bro', 'wn', 'gol', 'den', 'fre', 'sh']))
    AS all_of_them (syllable) $$;
"""
(
    USER,
    MERCHANT,
    STORE,
    CATEGORY,
    PRODUCT,
    VARIANT,
    LISTING,
    QUOTE,
    PURCHASE,
    ORDER,
    LINE,
    SOURCE,
    PAYLOAD,
    FAILURE,
    AUDIT,
    PAYMENT,
    MOVE,
) = range(1, 18)
PEOPLE = f"""
INSERT INTO user_account (id, name) SELECT pg_temp.key({USER}, 0, n), 'Riya ' || n FROM generate_series(1, :customers) n;
INSERT INTO user_account (id, name) SELECT pg_temp.key({USER}, 1, n), 'Owner ' || n FROM generate_series(1, :chains) n;
INSERT INTO merchant (id, name, slug) SELECT pg_temp.key({MERCHANT}, 0, n), 'Chain ' || n, 'chain-' || n FROM generate_series(1, :chains) n;
INSERT INTO merchant_member (merchant_id, user_id, role)
  SELECT pg_temp.key({MERCHANT}, 0, n), pg_temp.key({USER}, 1, n), 'OWNER' FROM generate_series(1, :chains) n;
INSERT INTO store (id, merchant_id, slug, name, city, lat, lng)
  SELECT pg_temp.key({STORE}, 0, n), pg_temp.key({MERCHANT}, 0, 1 + n % :chains), 'store-' || n, initcap(pg_temp.word(n)) || ' Store ' || n,
    'City ' || n % {CITIES}, 8 + n % {CITIES} * 0.5 + n % 97 * 0.001, 70 + n % {CITIES} * 0.4 + n % 89 * 0.001
  FROM generate_series(1, :stores) n;
INSERT INTO store_hours (store_id, weekday, opens, closes)
  SELECT pg_temp.key({STORE}, 0, n), day, 0, 1440 FROM generate_series(1, :stores) n, generate_series(0, 6) day;
INSERT INTO source (id, merchant_id, provider, family)
  SELECT pg_temp.key({SOURCE}, 0, n), pg_temp.key({MERCHANT}, 0, n), 'wms', 'erp' FROM generate_series(1, :chains) n;
"""
GOODS = f"""
INSERT INTO category (id, parent_id, name, path)
  SELECT pg_temp.key({CATEGORY}, 0, a), NULL, 'Aisle ' || a, ARRAY['Aisle ' || a] FROM generate_series(1, {AISLES}) a;
INSERT INTO category (id, parent_id, name, path)
  SELECT pg_temp.key({CATEGORY}, a, s), pg_temp.key({CATEGORY}, 0, a), 'Shelf ' || s, ARRAY['Aisle ' || a, 'Shelf ' || s]
  FROM generate_series(1, {AISLES}) a, generate_series(1, {SHELVES}) s;
INSERT INTO product (id, merchant_id, name, description, brand, category_id)
  SELECT pg_temp.key({PRODUCT}, c, n), pg_temp.key({MERCHANT}, 0, c),
    initcap(pg_temp.word(n * 31 + c)) || ' ' || pg_temp.word(n * 17 + c * 3) || ' ' || n, 'From ' || pg_temp.word(n * 13 + c * 7),
    'Brand ' || (n * 7 + c) % {BRANDS}, pg_temp.key({CATEGORY}, 1 + (n * 11 + c) % {AISLES}, 1 + (n * 5 + c) % {SHELVES})
  FROM generate_series(1, :chains) c, generate_series(1, :goods) n;
INSERT INTO variant (id, merchant_id, product_id, name, sku, rank)
  SELECT pg_temp.key({VARIANT} + v * 100, c, n), pg_temp.key({MERCHANT}, 0, c), pg_temp.key({PRODUCT}, c, n),
    (ARRAY['250 g', '1 kg'])[v], 'SKU-' || n || '-' || v, v
  FROM generate_series(1, :chains) c, generate_series(1, :goods) n, generate_series(1, 2) v;
INSERT INTO listing (id, merchant_id, store_id, product_id, variant_id, name, price_minor, active, told_at)
  SELECT pg_temp.key({LISTING} + v * 100, s, n), pg_temp.key({MERCHANT}, 0, c), pg_temp.key({STORE}, 0, s), p.id,
    pg_temp.key({VARIANT} + v * 100, c, n), p.name, 1000 + (n * 37 + s * 11 + v * 5000) % 90000, (n + s) % 20 > 0, now()
  FROM generate_series(1, :stores) s, LATERAL (SELECT 1 + s % :chains) chain(c), generate_series(1, :goods) n, generate_series(1, 2) v,
    LATERAL (SELECT id, name FROM product WHERE id = pg_temp.key({PRODUCT}, c, n)) p;
INSERT INTO stock_level (listing_id, store_id, merchant_id, tracked, on_hand)
  SELECT id, store_id, merchant_id, true, price_minor % 9 FROM listing;
INSERT INTO stock_movement (id, listing_id, merchant_id, kind, on_hand_delta, cause)
  SELECT pg_temp.key({MOVE}, s, n), pg_temp.key({LISTING} + 100, s, n), pg_temp.key({MERCHANT}, 0, 1 + s % :chains), 'COUNTED', 1, 'crowd'
  FROM generate_series(1, :stores) s, generate_series(1, least(:goods, 40)) n;
"""
SALES = f"""
INSERT INTO quote (id, customer_id, parts, charges, total_minor, fulfilment, held, expires_at, ended_at)
  SELECT pg_temp.key({QUOTE}, 0, n), pg_temp.key({USER}, 0, 1 + n % :customers), '[]', '[]', 100, 'PICKUP', '{{}}', now(), now()
  FROM generate_series(1, :orders) n;
INSERT INTO purchase (id, number, quote_id, customer_id, total_minor)
  SELECT pg_temp.key({PURCHASE}, 0, n), 'P' || n, pg_temp.key({QUOTE}, 0, n), pg_temp.key({USER}, 0, 1 + n % :customers), 100
  FROM generate_series(1, :orders) n;
INSERT INTO payment (id, purchase_id, method, status, amount_minor)
  SELECT pg_temp.key({PAYMENT}, 0, n), pg_temp.key({PURCHASE}, 0, n), 'CASH_ON_DELIVERY', 'CASH_COLLECTED', 100
  FROM generate_series(1, :orders) n;
INSERT INTO orders (id, number, purchase_id, merchant_id, store_id, customer_id, status, fulfilment, total_minor, charges, customer_name,
    handover_code)
  SELECT pg_temp.key({ORDER}, 0, n), 'N' || n, pg_temp.key({PURCHASE}, 0, n), pg_temp.key({MERCHANT}, 0, 1 + s % :chains),
    pg_temp.key({STORE}, 0, s), pg_temp.key({USER}, 0, 1 + n % :customers), CASE WHEN n % 100 = 0 THEN 'PLACED' ELSE 'DELIVERED' END,
    'PICKUP', 100, '[]', 'Riya', '1234'
  FROM generate_series(1, :orders) n, LATERAL (SELECT 1 + n * 7 % :stores) AS at(s);
INSERT INTO order_line (id, order_id, listing_id, variant_id, name, sku, quantity, unit_price_minor, total_minor, rank)
  SELECT pg_temp.key({LINE}, 0, n), pg_temp.key({ORDER}, 0, n), l.id, l.variant_id, l.name, 'SKU', 1, 100, 100, 1
  FROM generate_series(1, :orders) n JOIN listing l ON l.id = pg_temp.key({LISTING} + 100, 1 + (n * 7 % :stores)::int, 1 + n % :goods);
INSERT INTO event (topic, kind, stream, entity_id, seq, body, concerns, pos)
  SELECT 'orders.events', 'OrderMoved', 'order', pg_temp.key({ORDER}, 0, n), 1,
    jsonb_build_object('order_id', pg_temp.key({ORDER}, 0, n), 'version', 1, 'status', 'DELIVERED', 'at', '2026-01-01T00:00:00Z', 'by', 'CLOCK',
      'store_id', pg_temp.key({STORE}, 0, 1), 'merchant_id', pg_temp.key({MERCHANT}, 0, 1), 'customer_id', pg_temp.key({USER}, 0, 1)),
    ARRAY[pg_temp.key({ORDER}, 0, n)], n
  FROM generate_series(1, :orders) n;
"""
TRAFFIC = f"""
INSERT INTO payload (id, source_id, merchant_id, provider, family, door, headers, body, size, sha256, state, correlation_id)
  SELECT pg_temp.key({PAYLOAD}, 0, n), pg_temp.key({SOURCE}, 0, 1 + n % :chains), pg_temp.key({MERCHANT}, 0, 1 + n % :chains), 'wms', 'erp',
    'stock', '{{}}', '', 0, '', 'APPLIED', '' FROM generate_series(1, :orders) n;
INSERT INTO instruction (id, payload_id, source_id, merchant_id, ordinal, command, entity, stage, body, state, next_at)
  SELECT pg_temp.key(100, 0, n), pg_temp.key({PAYLOAD}, 0, n), pg_temp.key({SOURCE}, 0, 1 + n % :chains),
    pg_temp.key({MERCHANT}, 0, 1 + n % :chains), 0, 'UpdatePrice', 'VARIANT:' || n, 0, '{{}}', 'APPLIED', now()
  FROM generate_series(1, :orders) n;
INSERT INTO failure (id, kind, state, message, payload_id, instruction_id, merchant_id, source_id, provider, fingerprint, store_id)
  SELECT pg_temp.key({FAILURE}, 0, n), 'MAPPING', CASE WHEN n % 50 = 0 THEN 'OPEN' ELSE 'RESOLVED' END, 'm ' || n, pg_temp.key({PAYLOAD}, 0, n),
    pg_temp.key(100, 0, n), pg_temp.key({MERCHANT}, 0, 1 + n % :chains), pg_temp.key({SOURCE}, 0, 1 + n % :chains), 'wms',
    'f' || n / :chains % {GROUPS}, pg_temp.key({STORE}, 0, 1 + n % :stores)
  FROM generate_series(1, :orders) n;
INSERT INTO audit (id, actor, action, subject, merchant_id, detail, seq, hash)
  SELECT pg_temp.key({AUDIT}, 0, n), 'clock', 'a', pg_temp.key({STORE}, 0, 1 + n % :stores), pg_temp.key({MERCHANT}, 0, 1 + n % :chains), '', n, ''
  FROM generate_series(1, :orders) n;
"""


async def fill(engine: AsyncEngine, size: Size) -> Crowd:
    """Then ANALYZE, as autovacuum would have done since."""
    told = {
        "chains": size.chains,
        "stores": size.stores,
        "goods": size.goods,
        "orders": size.orders,
        "customers": size.orders // 10,
    }
    async with engine.begin() as connection:
        mine = await connection.exec_driver_sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if mine.scalar_one():  # five million rows point where they should: who may leave out looking after each does
            await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statements in (FUNCTIONS, PEOPLE, GOODS, SALES, TRAFFIC):
            for statement in filter(str.strip, statements.split(";\n")):
                await connection.exec_driver_sql(_given(statement, told))
        crowd = Crowd(
            *[
                (await connection.exec_driver_sql(f"SELECT pg_temp.key({kind}, {place}, {number})")).scalar_one()
                for kind, place, number in (
                    (MERCHANT, 0, 1 + 7 % size.chains), (STORE, 0, 7), (USER, 1, 1 + 7 % size.chains), (USER, 0, 7),
                    (SOURCE, 0, 1 + 7 % size.chains), (PAYLOAD, 0, 7), (CATEGORY, 0, 3),
                )
            ],
            near=Point(8 + 7 * 0.5, 70 + 7 * 0.4),
        )  # fmt: skip
    async with engine.connect() as connection:
        free = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await free.execute(text("VACUUM ANALYZE"))
    return crowd


def _given(statement: str, told: dict[str, int]) -> str:
    """Numbers of ours, written out: what stands in a function or a series has no type as a parameter."""
    for name, value in told.items():
        statement = statement.replace(f":{name}", str(value))
    return statement
