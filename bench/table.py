"""The table: every row by its name, in the order in which they are measured."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from sqlalchemy.ext.asyncio import create_async_engine

from bench import imports, live, poison, requests
from bench.rows import Asked, Row
from bench.seed import add_shop
from bench.stage import Stage
from launch.problem import Problem

ROWS: Mapping[str, Callable[[Asked], Awaitable[Row]]] = {
    "page": requests.page,
    "intake": requests.intake,
    "poison": poison.poison,
    "orders": requests.orders,
    "fan-out": live.fanout,
    "memory": live.memory,
    "latency": live.latency,
    "slow": live.slow,
    "import": imports.imported,
}


async def measure(
    stage: Stage, names: Sequence[str], seconds: float, sockets: int, peers: bool, tell: Callable[[Row], None]
) -> list[Row]:
    """Row after row; each is told as soon as it is there."""
    engine = create_async_engine(stage.database_url)
    try:
        shop = await add_shop(engine)
        rows = []
        for name in names:
            try:
                row = await ROWS[name](Asked(stage, engine, shop, seconds, sockets, peers))
            except (Problem, RuntimeError, TimeoutError) as error:  # the others are worth to know all the same
                row = Row(name, (), wrong=f"{str(error) or type(error).__name__}\n{stage.last_words()}")
            tell(row)
            rows.append(row)
        return rows
    finally:
        await engine.dispose()
