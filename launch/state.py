import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from launch.problem import Problem

LOCK = "lock"
RUN = "run.json"


@dataclass(frozen=True)
class Run:
    """A running town, for the commands in other terminals. Its URLs carry passwords."""

    database_url: str
    redis_url: str
    port: int
    url: str
    pids: dict[str, int]


@contextmanager
def claim(data: Path) -> Iterator[None]:
    """Makes `data` ours alone until we leave or die. Refuses when another process has it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / LOCK).open("a+")
    except OSError as error:
        raise Problem(f"{data} cannot be written ({error.strerror})", "choose --data DIR") from error
    with lock:
        if not _lock_soon(lock.fileno()):
            lock.seek(0)
            pid = lock.read().strip()
            raise Problem(f"{data} is in use by process {pid}", "stop that ./haat up first, or choose --data DIR")
        (data / RUN).unlink(missing_ok=True)  # of one that was killed
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            (data / RUN).unlink(missing_ok=True)


def announce(data: Path, run: Run) -> None:
    write_private(data / RUN, json.dumps(asdict(run), indent=2) + "\n")


def running(data: Path) -> Run | None:
    """The town that runs on `data` now. What a killed one left behind does not count."""
    try:
        with (data / LOCK).open("r") as lock:
            if _lock(lock.fileno()):
                return None
        return Run(**json.loads((data / RUN).read_text()))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Problem(f"{data} belongs to somebody else", "run as its owner, or choose --data DIR") from error


def reset(data: Path) -> None:
    """Throws away what a town kept. Only inside `claim`. A directory with anything strange in it is left alone."""
    known = {LOCK, RUN, "secrets.json", "postgres", "redis.log", "blobs", "figures"}
    drafts = (f".{RUN}.", ".secrets.json.")  # of a `write_private` that was killed
    names = sorted(entry.name for entry in data.iterdir())
    strange = [name for name in names if name not in known and not name.startswith(drafts)]
    if strange:
        raise Problem(f"{data} holds more than a town ({strange[0]})", "look at it, then delete it yourself")
    try:
        for entry in data.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK:  # we hold it
                entry.unlink()
    except PermissionError as error:
        raise Problem(f"{error.filename} belongs to somebody else", "run as its owner, or choose --data DIR") from error


def write_private(path: Path, text: str, *, over: bool = True) -> None:
    """For our eyes only, and whole or not at all. Unless `over`, FileExistsError when somebody was quicker."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if over:
            os.replace(draft, path)
        else:
            os.link(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _lock_soon(descriptor: int) -> bool:
    """`running` may be having a look this very moment."""
    for _ in range(10):
        if _lock(descriptor):
            return True
        time.sleep(0.05)
    return False


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
