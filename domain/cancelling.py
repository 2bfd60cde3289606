"""A cancellation that a library has lost."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


def heed_cancelling(error: BaseException) -> None:
    """In an `except`: raises CancelledError where the task was told to end meanwhile.

    A library that is cancelled cleans up, and when that fails too it tells of the latter alone: a connection to a server
    that hangs cannot be closed. Whoever goes on after such an error never ends.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


@contextmanager
def cancellable() -> Iterator[None]:
    """Around what may lose it: raises CancelledError where the task was told to end inside, whatever came of that.

    It may go on as if nothing had been: redis-py sends by `asyncio.wait_for`, and that of Python 3.11 loses a cancellation
    which comes in the very moment it is done. Or it tells of something else, as above.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
