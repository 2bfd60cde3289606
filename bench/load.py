"""The load, in a process of its own: `python -m bench.load` reads one job as a line of JSON, and says what came of it.

It stops by itself after the job's seconds.
"""

import asyncio
import json
import resource
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

import uvloop

from bench import direct
from bench.callers import calls
from bench.wire import HOST, Busy, Http, Socket, Wrong, masked, upgrade

BUSY_S = 0.05
WARM = 0.2  # of the seconds come before, and do not count
OPENING = 16  # sockets that open at the same time
TRANSPORT_WS = "graphql-transport-ws"


def say(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


class Clock:
    """Counts what is done within the measured time."""

    def __init__(self, seconds: float) -> None:
        self.begin = time.perf_counter() + seconds * WARM
        self.end = self.begin + seconds
        self.took: list[float] = []
        self.last = self.begin
        self.busy = 0  # calls that were refused for now

    def still(self) -> bool:
        return time.perf_counter() < self.end

    def done(self, started: float) -> None:
        now = time.perf_counter()
        if self.begin <= now <= self.end:
            self.took.append(now - started)
            self.last = now

    def sum_up(self) -> dict[str, Any]:
        """The rate up to the last that was done: a job may run out of work before its time is over."""
        return _summed_up(self.took, max(self.last - self.begin, 1e-9), self.busy)


def _summed_up(each: Sequence[float], seconds: float, busy: int) -> dict[str, Any]:
    took = sorted(each)
    if not took:
        raise Wrong("nothing was done in the time")
    return {
        "done": len(took),
        "busy": busy,
        "per_s": len(took) / seconds,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[min(len(took) - 1, len(took) * 99 // 100)] * 1000,
    }


async def http(job: dict[str, Any]) -> None:
    clock, work = Clock(job["seconds"]), calls(job)

    async def caller() -> None:
        connection = await Http.connect(job["port"])
        try:
            while clock.still():
                call = next(work, None)
                if call is None:
                    return
                started = time.perf_counter()
                try:
                    await call(connection)
                except Busy:
                    clock.busy += 1
                    await asyncio.sleep(BUSY_S)
                else:
                    clock.done(started)
        finally:
            connection.close()

    await asyncio.gather(*(caller() for _ in range(job["concurrency"])))
    say(**clock.sum_up())


async def paced(job: dict[str, Any]) -> None:
    """So many calls a second, however slowly those before are answered: each is timed from the moment that it was planned for."""
    work, took, turns = calls(job), list[float](), iter(range(int(job["rate"] * job["seconds"])))
    connections = [await Http.connect(job["port"]) for _ in range(job["concurrency"])]
    begin, busy = time.perf_counter(), 0

    async def caller(connection: Http) -> None:
        nonlocal busy
        for turn in turns:  # everybody's
            planned = begin + turn / job["rate"]
            await asyncio.sleep(planned - time.perf_counter())
            try:
                await next(work)(connection)
            except Busy:
                busy += 1
            else:
                took.append(time.perf_counter() - planned)

    await asyncio.gather(*map(caller, connections))
    seconds = time.perf_counter() - begin
    for connection in connections:
        connection.close()
    say(**_summed_up(took, seconds, busy))


async def sql(job: dict[str, Any]) -> None:
    clock = Clock(job["seconds"])
    await direct.run(job, clock.still, clock.done)
    say(**clock.sum_up())


class Feed:
    """One subscription on a socket of its own. The acknowledgement and the snapshot let it go on; the rest is heard."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._came = asyncio.Event()
        self._wrong = ""

    def receive(self, text: bytes) -> None:
        if b'"connection_ack"' in text[:40] or b'"reset":true' in text:
            self._came.set()
        elif b'"next"' in text and b'"errors"' not in text:
            self._heard(text)
        else:
            self._wrong = text[:500].decode()
            self._came.set()

    async def follow(self, job: dict[str, Any], subscribe: dict[str, Any]) -> Socket:
        opened = await Socket.connect(job["port"], job["path"], TRANSPORT_WS, self.receive)
        opened.send('{"type":"connection_init"}')
        await self._go_on()
        opened.send(json.dumps({"id": "1", "type": "subscribe", "payload": subscribe}))
        if job.get("snapshots", True):
            await self._go_on()
        return opened

    async def _go_on(self) -> None:
        await self._came.wait()
        self._came.clear()
        if self._wrong:
            raise Wrong(f"the server said {self._wrong}")


async def sockets(job: dict[str, Any]) -> None:
    """Opens them, subscribes where the job says so, and says when a text has come to every one of them."""
    expected, counted, first = job["sockets"], 0, 0.0

    def heard(text: bytes) -> None:
        nonlocal counted, first
        if counted == 0:
            first = time.monotonic()
        counted += 1
        if counted == expected:
            counted = 0
            say(first=first, last=time.monotonic(), text=text.decode())

    async def open_one() -> Socket:
        if job.get("subscribe"):
            return await Feed(heard).follow(job, job["subscribe"])
        return await Socket.connect(job["port"], job["path"], None, heard)

    opened = await _in_turns([open_one() for _ in range(expected)])
    say(ready=len(opened))
    await asyncio.sleep(job["seconds"])


async def watch(job: dict[str, Any]) -> None:
    """Each socket watches listings of its own; says at the end which version of which came when."""
    came: list[tuple[str, int, float]] = []

    def heard(text: bytes) -> None:
        now = time.monotonic()
        came.extend((level["listingId"], level["version"], now) for level in json.loads(text)["payload"]["data"]["stock"]["levels"])

    def subscribe(ids: list[str]) -> dict[str, Any]:
        return {"query": job["query"], "variables": {"store": job["store"], "ids": ids}}

    opened = await _in_turns([Feed(heard).follow(job, subscribe(ids)) for ids in job["watched"]])
    say(ready=len(opened))
    await asyncio.sleep(job["seconds"])
    say(came=came)


async def timed(job: dict[str, Any]) -> None:
    """All watch the same; says at the end which version came when, to every one of them."""
    came: dict[bytes, list[float]] = {}

    def heard(text: bytes) -> None:
        came.setdefault(text, []).append(time.monotonic())

    opened = await _in_turns([Feed(heard).follow(job, job["subscribe"]) for _ in range(job["sockets"])])
    say(ready=len(opened))
    await asyncio.sleep(job["seconds"])
    levels = [(json.loads(text)["payload"]["data"]["stock"]["levels"], at) for text, at in came.items()]
    say(came=[(each[0]["version"], at) for each, at in levels if each])


async def deaf(job: dict[str, Any]) -> None:
    """Subscribe and never read."""

    def join() -> socket.socket:
        one = socket.create_connection((HOST, job["port"]))
        one.sendall(upgrade(job["path"], TRANSPORT_WS))
        one.recv(4096)  # that it may
        for message in ('{"type":"connection_init"}', json.dumps({"id": "1", "type": "subscribe", "payload": job["subscribe"]})):
            one.sendall(masked(1, message.encode()))
        return one

    with ExitStack() as joined:
        for _ in range(job["sockets"]):
            joined.enter_context(await asyncio.to_thread(join))
        say(ready=job["sockets"])
        await asyncio.sleep(job["seconds"])


async def _in_turns(opening: Sequence[Awaitable[Socket]]) -> list[Socket]:
    turn = asyncio.Semaphore(OPENING)

    async def one(work: Awaitable[Socket]) -> Socket:
        async with turn:
            return await work

    return list(await asyncio.gather(*map(one, opening)))


JOBS = {"http": http, "paced": paced, "sql": sql, "sockets": sockets, "watch": watch, "timed": timed, "deaf": deaf}


def main() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    job = json.loads(sys.stdin.readline())
    try:
        uvloop.run(JOBS[job["job"]](job))
    except (Wrong, ConnectionError, RuntimeError) as error:
        say(wrong=str(error))


if __name__ == "__main__":
    main()
