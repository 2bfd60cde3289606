import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from launch.problem import Problem
from launch.process import Process

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_AFTER_S = 10.0
TICK_S = 0.05
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Service(Protocol):
    """What is started before the children and stopped after them: PostgreSQL, Redis."""

    @property
    def name(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def status(self) -> int | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Backoff:
    """How long to wait before the next start: doubling, capped, forgotten after a steady life."""

    failures: int = 0

    def pause_s(self, lived_s: float) -> float:
        self.failures = 1 if lived_s >= STEADY_AFTER_S else self.failures + 1
        pause: float = FIRST_PAUSE_S * 2 ** min(self.failures - 1, 10)
        return min(pause, LONGEST_PAUSE_S)


@dataclass
class Kept:
    """One thing kept running."""

    what: Service | Process
    backoff: Backoff
    started_at: float
    start_at: float | None = None  # set while it is down

    @property
    def failures(self) -> int:
        return self.backoff.failures


class Supervisor:
    """Keeps services and children running in this one thread, until told to end.

    Use it as `with supervisor:`; leaving stops the children together (asked, and killed after the grace), then the
    services in reverse. If we are killed ourselves the kernel ends them: see Process.death_signal.
    """

    def __init__(self, grace_s: float, say: Callable[[str], None]) -> None:
        self.grace_s = grace_s
        self.say = say
        self.ending = False
        self.restarted: Callable[[], None] = lambda: None
        self.services: list[Kept] = []
        self.children: list[Kept] = []

    def add_service(self, service: Service) -> None:
        """Returns once it is up. Even if it fails, leaving stops what came of it."""
        self.services.append(Kept(service, Backoff(), time.monotonic()))
        service.start()

    def add_child(self, child: Process) -> None:
        self.children.append(Kept(child, Backoff(), time.monotonic()))
        child.start()

    def __enter__(self) -> "Supervisor":
        self.before = {what: signal.signal(what, self._end) for what in ENDING}
        return self

    def __exit__(self, *exception: object) -> None:
        # A second Ctrl-C in haste must not leave the rest running: nobody waits past the grace anyhow.
        try:
            self.stop_children()
            for kept in reversed(self.services):
                kept.what.stop()
        finally:
            for what, handler in self.before.items():
                signal.signal(what, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ending = True

    def run(self, changed: Callable[[], bool] | None = None) -> None:
        """Until SIGTERM, Ctrl-C or SIGHUP. When `changed()` says so, the children are started anew."""
        while not self.ending:
            self.tick()
            if changed is not None and changed():
                self.say("the code changed: starting anew")
                self.restart_children()
            time.sleep(TICK_S)

    def wait_until(self, ready: Callable[[], bool], timeout_s: float, failures: int = 3) -> bool:
        """Keeps everything running until `ready()`; False when told to end before that.

        A child that keeps ending, or the timeout, is a Problem.
        """
        deadline = time.monotonic() + timeout_s
        while not self.ending:
            self.tick()
            for kept in self.children:
                if kept.failures >= failures:
                    raise Problem(f"{kept.what.name} does not stay up", "read its last words above")
            if ready():
                return True
            if time.monotonic() > deadline:
                raise Problem(f"not ready after {timeout_s:.0f} s", "read the log above, then ./haat doctor")
            time.sleep(TICK_S)
        return False

    def tick(self) -> None:
        """Starts again what has ended, when its time has come."""
        for kept in (*self.services, *self.children):
            now = time.monotonic()
            if kept.start_at is None and not kept.what.alive:
                pause_s = kept.backoff.pause_s(now - kept.started_at)
                kept.start_at = now + pause_s
                self.say(f"{kept.what.name} ended ({ending(kept.what.status)}): starting it again in {pause_s:.1f} s")
            if kept.start_at is not None and now >= kept.start_at:
                kept.start_at, kept.started_at = None, now
                try:
                    kept.what.start()
                    self.restarted()
                except Problem as problem:  # a service may need longer; the children say so in their readiness
                    self.say(str(problem))

    def restart_children(self) -> None:
        self.stop_children()
        for kept in self.children:
            kept.backoff, kept.start_at, kept.started_at = Backoff(), None, time.monotonic()
            if isinstance(kept.what, Process):
                kept.what.start()
        self.restarted()

    def stop_children(self) -> None:
        children = [kept.what for kept in self.children if isinstance(kept.what, Process)]
        for child in children:
            child.ask_to_stop()
        deadline = time.monotonic() + self.grace_s
        for child in children:
            if not child.wait(deadline - time.monotonic()):
                self.say(f"{child.name} did not stop within {self.grace_s:.0f} s: killing it")
                child.kill()

    def pids(self) -> dict[str, int]:
        return {kept.what.name: kept.what.pid for kept in (*self.services, *self.children) if kept.what.pid}


def ending(status: int | None) -> str:
    if status is None:
        return "never started"
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


class Watch:
    """Whether Python code under `root` changed since the last question. Asks the disk at most twice a second."""

    def __init__(self, root: Path, skip: Sequence[str] = ("tests", "web", "node_modules")) -> None:
        self.root = root
        self.skip = frozenset(skip)
        self.asked_at = time.monotonic()
        self.seen = self._newest()

    def __call__(self) -> bool:
        if time.monotonic() - self.asked_at < 0.5:
            return False
        self.asked_at = time.monotonic()
        before, self.seen = self.seen, self._newest()
        return self.seen != before

    def _newest(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self._files() if path.exists()}

    def _files(self) -> Iterator[Path]:
        for entry in self.root.iterdir():
            if entry.suffix == ".py":
                yield entry
            elif entry.is_dir() and not entry.name.startswith(".") and entry.name not in self.skip:
                yield from entry.rglob("*.py")
