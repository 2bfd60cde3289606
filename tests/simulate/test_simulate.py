"""A whole town, played for a short while: it holds, and what is broken on purpose is found."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulate.newcomers import SPICES
from simulate.plan import NEWCOMERS
from tests.launch.towns import CLI, Town, clean
from tests.simulators.calls import Flaw
from wiring import INBOUNDS

# Of this seed two orders are collected in the store: nobody has to ride.
SHORT = ("--minutes", "0.05", "--orders-per-minute", "40", "--riders", "0", "--pos", "2", "--seed", "1777")


@pytest.fixture(scope="module")
def town(server_directory: Path) -> Iterator[Town]:
    # People sign in more often here than one address may.
    running = Town(server_directory / "simulated", "--port", "0", empty=False, env={"HAAT_RATE_LIMITS": "off"})
    try:
        running.ready()
        yield running
    finally:
        running.close()


def simulate(town: Town, *options: str) -> subprocess.Popen[str]:
    command = [*CLI, "simulate", "--json", "--data", str(town.data), *options]
    return subprocess.Popen(command, env=clean(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(running: subprocess.Popen[str], within_s: float = 120) -> tuple[int, dict[str, Any], str]:
    """Exit status, the one object, the prose."""
    told, prose = running.communicate(timeout=within_s)
    assert told.count("\n") == 1, prose
    return running.returncode, json.loads(told), prose


def test_a_town_with_faults_holds(town: Town):
    status, told, prose = ended(
        simulate(town, "--minutes", "0.25", "--orders-per-minute", "40", "--riders", "3", "--pos", "2", "--faults")
    )
    assert status == 0, prose + town.said()[-4000:]
    assert told["ok"]
    assert told["orders"]["placed"] >= 5
    assert told["orders"]["byStatus"]["DELIVERED"] >= 3
    assert told["frames"]["measured"] > 50
    assert {"ok", "duplicate", "stale", "forged", "unknown"} <= told["webhooks"].keys()
    assert told["webhooks"].get("failed", 0) == 0
    assert all(check["holds"] for check in told["checks"])
    assert any("Redis" in note for note in told["notes"])


def test_a_system_of_every_provider_says_what_customers_are_shown(town: Town):
    wished = ("--minutes", "0.2", "--orders-per-minute", "15", "--riders", "1", "--pos", str(len(NEWCOMERS) + 2), "--faults")
    status, told, _ = ended(simulate(town, *wished), within_s=300)
    assert {check["name"]: check["broken"] for check in told["checks"] if not check["holds"]} == {}
    assert status == 0
    assert told["providers"].keys() == INBOUNDS.keys()
    assert min(told["providers"].values()) >= 8
    assert {"ok", *(flaw.value.lower() for flaw in Flaw)} == told["webhooks"].keys() - {"sent"}
    assert "tills are told of their stores' orders" in {check["name"] for check in told["checks"]}
    [books] = [check for check in told["checks"] if check["name"].startswith("customers are shown")]
    assert books["lookedAt"] == len(SPICES) * (len(NEWCOMERS) + 2)  # and two that are asked


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        ("stock", "nothing is oversold"),
        ("payload", "every payload is accounted for"),
        ("order", "every order is legal"),
    ],
)
def test_a_fault_behind_the_towns_back_is_found_and_taken_back(town: Town, fault: str, found_by: str):
    status, told, prose = ended(simulate(town, *SHORT, "--break", fault))
    assert status == 1, prose
    assert [check["name"] for check in told["checks"] if not check["holds"]] == [found_by], prose


def test_one_who_is_told_to_stop_checks_what_has_happened(town: Town):
    running = simulate(town, "--minutes", "10", "--orders-per-minute", "6", "--riders", "1", "--pos", "1")
    assert running.stderr is not None
    while not running.stderr.readline().startswith("playing"):
        assert running.poll() is None
    os.kill(running.pid, signal.SIGINT)
    status, told, prose = ended(running)
    assert status == 0, prose
    assert told["stopped"]
    assert told["checks"]


def test_without_a_town_it_is_one_line(tmp_path: Path):
    done = subprocess.run([*CLI, "simulate", "--data", str(tmp_path)], env=clean(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("haat: no town runs on ")
    assert done.stderr.count("\n") == 1
