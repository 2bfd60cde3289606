"""./haat bench: that it measures at all, and what --check asks for. How fast it is, no test can say."""

import json
import os
import subprocess
import sys

import pytest

from bench.rows import ROWS, Line, Ratio, Row
from launch.problem import Problem
from settings import ROOT
from terminal import bench
from terminal.bench import Asked, holds


@pytest.mark.parametrize(
    ("value", "goal", "at_least", "well"),
    [
        (0.06, 0.25, 0.05, True),
        (0.04, 0.25, 0.05, False),
        (0.05, 0.25, 0.05, True),
        (5.9, 1, 6, True),  # less is better: a limit beyond the goal
        (6.1, 1, 6, False),
        (0.2, 1, 6, True),
    ],
)
def test_a_ratio_holds_on_its_side_of_the_limit(value: float, goal: float, at_least: float, well: bool):
    assert holds(value, goal, at_least) is well


def test_there_is_no_row_of_another_name():
    with pytest.raises(Problem, match="there is no row nothing"):
        bench.bench(Asked(["nothing"], 1, 10, json=True, check=False))


@pytest.mark.parametrize(("check", "value", "wrong", "well"), [
    (False, 0.01, "", True), (True, 0.01, "", False), (True, 0.3, "", True), (False, 0.3, "it broke", False),
])  # fmt: skip
def test_it_ends_well_when_all_was_measured_and_checked(monkeypatch, capsys, check: bool, value: float, wrong: str, well: bool):
    row = Row("page", (Line("ours", 1, "req/s"),), (Ratio("of raw", value, 0.25, 0.05),), wrong)

    async def measured(*what: object) -> list[Row]:
        return [row]

    class Stage:
        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(bench, "measure", measured)
    monkeypatch.setattr(bench, "stage", Stage)
    assert bench.bench(Asked(["page"], 1, 10, json=True, check=check)) is well
    (told,) = json.loads(capsys.readouterr().out)["rows"]
    assert (told["name"], told["wrong"], told["ratios"][0]["value"]) == ("page", wrong, value)


@pytest.mark.long
def test_every_row_is_measured_beside_its_raw_line():
    env = {name: value for name, value in os.environ.items() if not name.startswith("HAAT_")}
    ran = subprocess.run(
        [sys.executable, "cli.py", "bench", "--seconds", "0.5", "--sockets", "200", "--json"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    rows = {row["name"]: row for row in json.loads(ran.stdout)["rows"]}
    assert set(rows) == set(ROWS)
    for row in rows.values():
        assert all(line["value"] > 0 for line in row["lines"]), row
        assert all(ratio["value"] > 0 for ratio in row["ratios"]), row
