import asyncio
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

from launch.ending import close, end, where

ROOT = Path(__file__).parents[2]


async def deaf(times: float = float("inf")) -> None:
    """Does not end when it is told to, so many times."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


async def begun(what, name: str) -> asyncio.Task:
    task = asyncio.create_task(what, name=name)
    await asyncio.sleep(0)
    return task


async def test_what_is_told_to_end_has_ended(caplog):
    tasks = [await begun(asyncio.sleep(60), "one"), await begun(asyncio.Event().wait(), "other")]
    await end(tasks, 5)
    assert all(task.cancelled() for task in tasks)
    await end([], 5)
    assert not caplog.records


async def test_a_cancellation_that_was_lost_is_repeated(caplog):
    task = await begun(deaf(2), "hard of hearing")
    await end([task], 5)
    assert task.cancelled()
    assert not caplog.records


async def test_what_does_not_end_is_named_with_its_place_and_waited_for_no_longer(caplog):
    task = await begun(deaf(), "deaf one")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        await end([task], 0.3)
    assert time.monotonic() - began < 0.6
    [said] = caplog.records
    assert (said.task, said.name) == ("deaf one", "haat.ending")
    assert said.where.split(" > ")[0].startswith(f"{__name__}.deaf:")
    task._coro.close()
    task._log_destroy_pending = False


async def test_a_place_is_told_from_ones_own_line_inwards():
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    task = await begun(outer(), "nested")
    names = [place.rpartition(":")[0].rpartition(".")[2] for place in where(task).split(" > ")]
    assert names == ["outer", "inner", "wait"]
    await end([task], 1)
    assert where(task) == ""


async def test_all_is_closed_at_once_whatever_one_of_them_does(caplog):
    closed, never = [], asyncio.Event()

    async def fine() -> None:
        await asyncio.sleep(0.1)
        closed.append("fine")

    async def broken() -> None:
        raise OSError("gone")

    began = time.monotonic()
    await close({"fine": fine, "also fine": fine, "broken": broken, "hung": never.wait}, 0.4)
    assert time.monotonic() - began < 0.8
    assert closed == ["fine", "fine"]
    assert [record.task for record in caplog.records] == ["broken", "closing hung"]
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("closing") and not task.cancelling()]


NEVER_ENDS = """
import asyncio, socket
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from launch import server
from launch.load import load

@asynccontextmanager
async def lifespan(app):
    yield
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

server.GIVEN_UP_S = 1.0
listening = socket.create_server(("127.0.0.1", 0))
print("begun", flush=True)
server.serve(Starlette(lifespan=lifespan), load(graceful_shutdown_s=1), listening)
"""


def test_a_process_that_cannot_end_says_what_holds_it_and_ends(tmp_path: Path):
    environment = {
        "HAAT_DATA": str(tmp_path),
        "HAAT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "HAAT_REDIS_URL": "memory://",
    }
    running = subprocess.Popen(
        [sys.executable, "-c", f"import logging; logging.basicConfig(level=20)\n{NEVER_ENDS}"],
        cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = []
    assert running.stderr is not None
    for line in running.stderr:
        said.append(line)
        if "serving" in line:
            break
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    said += running.communicate(timeout=20)[1].splitlines()
    assert running.returncode == 1, said
    assert time.monotonic() - began < 6
    assert any("haat.server:did not end" in line for line in said), said
