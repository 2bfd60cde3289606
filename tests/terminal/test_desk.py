"""What every operator's command begins and ends with."""

from pathlib import Path
from typing import NoReturn

import pytest

from domain.refusals import InvalidInput, Refused, not_found
from domain.refusals import Problem as Wrong
from launch.load import load
from launch.problem import Problem
from terminal.desk import Desk, at_desk
from terminal.seed import seed_the_town


async def never(desk: Desk) -> NoReturn:
    raise AssertionError("there is nothing to work with")


def test_without_a_database_the_next_command_is_named(tmp_path: Path):
    with pytest.raises(Problem, match=r"there is no database: start \./haat up, or set HAAT_DATABASE_URL"):
        at_desk(never, load(data=tmp_path))


def test_without_our_tables_the_next_command_is_named(server_url: str, tmp_path: Path):
    with pytest.raises(Problem, match=r"the database has not our tables: run \./haat migrate"):
        at_desk(seed_the_town, load(data=tmp_path, database_url=server_url))


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (not_found("store"), "no such store: see --help for what is expected"),
        (
            Refused(InvalidInput("two things", (Wrong("name", "is empty"), Wrong("city", "is too long")))),
            "name is empty; city is too long: see --help for what is expected",
        ),
    ],
)
def test_a_refusal_is_one_line(database_url: str, tmp_path: Path, refused: Refused, says: str):
    async def refuse(desk: Desk) -> NoReturn:
        raise refused

    with pytest.raises(Problem) as problem:
        at_desk(refuse, load(data=tmp_path, database_url=database_url))
    assert str(problem.value) == says
