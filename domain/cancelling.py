"""A cancellation that a library has lost."""

import asyncio


def heed_cancelling(error: BaseException) -> None:
    """In an `except`: raises CancelledError where the task was told to end meanwhile.

    A library that is cancelled cleans up, and when that fails too it tells of the latter alone: a connection to a server
    that hangs cannot be closed. Whoever goes on after such an error never ends.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
