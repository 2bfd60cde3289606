import os
from pathlib import Path

import pytest

from launch.problem import Problem
from launch.state import Run, announce, claim, reset, running

RUN = Run("postgresql+asyncpg://x", "memory://", 8000, "http://127.0.0.1:8000", {"up": 1})


def test_other_terminals_find_the_town_while_it_runs_and_not_after(tmp_path: Path):
    assert running(tmp_path) is None
    with claim(tmp_path):
        announce(tmp_path, RUN)
        assert running(tmp_path) == RUN
    assert running(tmp_path) is None


def test_what_a_killed_town_left_is_not_a_town(tmp_path: Path):
    with claim(tmp_path):
        announce(tmp_path, RUN)
        left = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(left)
    assert running(tmp_path) is None
    with claim(tmp_path):
        assert running(tmp_path) is None


def test_one_directory_has_one_town(tmp_path: Path):
    with claim(tmp_path), pytest.raises(Problem, match=f"in use by process {os.getpid()}"), claim(tmp_path):
        pass


def test_a_reset_throws_away_a_town_and_nothing_else(tmp_path: Path):
    with claim(tmp_path):
        (tmp_path / "postgres").mkdir()
        (tmp_path / "figures").mkdir()
        reset(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        (tmp_path / "thesis.doc").touch()
        with pytest.raises(Problem, match=r"thesis\.doc"):
            reset(tmp_path)
        assert (tmp_path / "thesis.doc").exists()
