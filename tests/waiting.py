import asyncio
from collections.abc import Callable


async def until(true: Callable[[], object], within_s: float = 5) -> None:
    """For what no event tells."""
    async with asyncio.timeout(within_s):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)
