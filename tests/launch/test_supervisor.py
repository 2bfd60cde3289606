import os
import signal
import sys
import time

import pytest

from launch.problem import Problem
from launch.process import Process
from launch.supervisor import Backoff, Supervisor, Watch
from tests.launch.towns import eventually

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)",
]


def test_the_pause_doubles_up_to_its_cap_and_is_forgotten_after_a_steady_life():
    backoff = Backoff()
    assert [round(backoff.pause_s(0), 1) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.pause_s(60) == 0.1


def test_a_killed_child_is_started_again_and_it_is_said():
    said: list[str] = []
    with Supervisor(5, said.append) as supervisor:
        child = Process("sleeper", SLEEP)
        supervisor.add_child(child)
        before = child.pid
        os.kill(before, signal.SIGKILL)

        def restarted() -> bool:
            supervisor.tick()
            return child.alive and child.pid != before

        assert eventually(restarted)
    assert "sleeper ended (killed by SIGKILL)" in said[0]
    assert not child.alive


def test_a_child_that_will_not_stay_up_is_a_problem():
    with Supervisor(5, lambda line: None) as supervisor:
        supervisor.add_child(Process("faulty", [sys.executable, "-c", "raise SystemExit(3)"]))
        with pytest.raises(Problem, match="faulty does not stay up"):
            supervisor.wait_until(lambda: False, 20)


def test_a_child_that_ignores_the_request_is_killed_after_the_grace(tmp_path):
    log = tmp_path / "log"
    with Supervisor(0.3, lambda line: None) as supervisor:
        child = Process("deaf", DEAF, log=log)
        supervisor.add_child(child)
        assert eventually(lambda: log.read_text() == "\n")
    assert child.status == -signal.SIGKILL


def test_starting_anew_replaces_every_child_and_says_that_their_pids_changed():
    told: list[dict[str, int]] = []
    with Supervisor(5, lambda line: None) as supervisor:
        supervisor.add_child(Process("one", SLEEP))
        supervisor.add_child(Process("two", SLEEP))
        before = supervisor.pids()
        supervisor.restarted = lambda: told.append(supervisor.pids())
        supervisor.restart_children()
        assert told == [supervisor.pids()]
        assert not set(before.values()) & set(told[0].values())
        supervisor.tick()
        assert supervisor.pids() == told[0]


def test_changed_code_is_seen(tmp_path):
    code = tmp_path / "room" / "stock.py"
    code.parent.mkdir()
    code.write_text("")
    watch = Watch(tmp_path)
    watch.asked_at = 0
    assert not watch()
    os.utime(code, (time.time() + 5, time.time() + 5))
    watch.asked_at = 0
    assert watch()
