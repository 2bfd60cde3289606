import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
# Loaded here, since little is safe between fork and exec.
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """Runs in the child, after it changed its user (which would clear the wish) and before it becomes another program."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)


@dataclass
class Process:
    """One child, and how to start it again. Its standard output goes to `log`, else to our standard error.

    Start it from the main thread: on Linux the death signal comes when the *thread* that started it ends.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] | None = None
    uid: int | None = None
    gid: int | None = None
    log: Path | None = None
    cwd: Path | None = None
    pass_fds: Sequence[int] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    feed: bytes | None = None  # given on its standard input
    running: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        parent = os.getpid()
        output: IO[bytes] | int = self.log.open("ab") if self.log else 2
        try:
            self.running = subprocess.Popen(
                list(self.command),
                env=dict(self.env) if self.env is not None else None,
                cwd=self.cwd,
                stdin=subprocess.PIPE if self.feed is not None else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self.uid,
                group=self.gid,
                extra_groups=[] if self.uid is not None else None,
                pass_fds=tuple(self.pass_fds),
                # Ctrl-C in a terminal reaches a whole process group: ours alone must hear it, to stop in order.
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(self.death_signal, parent),
            )
        finally:
            if not isinstance(output, int):
                output.close()
        if self.feed is not None and self.running.stdin is not None:
            self.running.stdin.write(self.feed)
            self.running.stdin.close()

    @property
    def pid(self) -> int | None:
        return self.running.pid if self.running else None

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; negative is the signal it died of; None while it runs or has never run."""
        return self.running.poll() if self.running else None

    def ask_to_stop(self) -> None:
        self.signal(self.stop_signal)

    def signal(self, what: signal.Signals) -> None:
        if self.running is not None and self.alive:
            self.running.send_signal(what)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended."""
        if self.running is None:
            return True
        try:
            self.running.wait(max(timeout_s, 0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float = 10) -> None:
        """Asks, and after the grace insists."""
        self.ask_to_stop()
        if not self.wait(grace_s):
            self.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait(10)
