"""Real runs of ./haat's Python, and a look at what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, str(ROOT / "cli.py")]


class Town:
    """`up --json` on a directory, in a session of its own."""

    def __init__(self, data: Path, *options: str, env: Mapping[str, str] | None = None, empty: bool = True) -> None:
        self.data = data
        self.errors = data.with_suffix(".err")
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*CLI, "up", "--json", "--data", str(data), *(["--empty"] if empty else []), *options],
                env=clean() | dict(env or {}),
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    def ready(self) -> dict[str, Any]:
        """The one line, waited for."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        told: dict[str, Any] = json.loads(line)
        return told

    def said(self) -> str:
        return self.errors.read_text()

    def run(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        return told

    def family(self) -> list[psutil.Process]:
        """Every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, what: signal.Signals) -> int:
        self.process.send_signal(what)
        return self.process.wait(60)  # longer than a server's grace and what `up` gives it beside: then it would have been killed

    def close(self) -> None:
        if self.process.poll() is None:
            family = self.family()
            self.process.kill()
            self.process.wait(10)
            assert eventually(lambda: not alive(family)), alive(family)
        if self.process.stdout:
            self.process.stdout.close()


@contextmanager
def town(data: Path, *options: str, env: Mapping[str, str] | None = None, empty: bool = True) -> Iterator[Town]:
    running = Town(data, *options, env=env, empty=empty)
    try:
        yield running
    finally:
        running.close()


def haat(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run([*CLI, *arguments], env=clean() | dict(env or {}), capture_output=True, text=True, timeout=60)


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HAAT_")}


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    """Zombies that a lazy first process of a container has not buried do not count."""
    return [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def eventually(fact: Callable[[], bool], within_s: float = 15) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if fact():
                return True
        except (OSError, psutil.NoSuchProcess):
            pass
        time.sleep(0.02)
    return False
