import os
import signal
from pathlib import Path

import asyncpg
import pytest

from launch.postgres import Postgres
from launch.problem import Problem


@pytest.fixture(scope="module")
def server(server_directory: Path):
    server = Postgres(server_directory / "own", {"fsync": "off"})
    server.start()
    server.run("CREATE TABLE kept (what text)")
    yield server
    server.stop()


def kept(server: Postgres) -> str:
    return server.run("SELECT count(*) FROM kept")


async def test_asyncpg_connects_by_its_url_and_only_with_the_password(server: Postgres):
    connection = await asyncpg.connect(server.url(scheme="postgresql"))
    assert await connection.fetchval("SHOW log_parameter_max_length_on_error") == "0"
    assert await connection.fetchval("SHOW max_connections") == "200"
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url(scheme="postgresql"), password="guess")


def test_a_killed_postmaster_starts_again_on_its_port_with_what_was_committed(server: Postgres):
    server.run("INSERT INTO kept VALUES ('before the crash')")
    port, before = server.port, kept(server)
    server.kill()
    assert not server.alive
    server.start()
    assert (server.port, kept(server)) == (port, before)


def test_an_immediate_stop_loses_nothing(server: Postgres):
    server.run("INSERT INTO kept VALUES ('before the stop')")
    before = kept(server)
    server.stop("immediate")
    server.start()
    assert kept(server) == before


def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(server: Postgres):
    server.kill()
    pid_file = server.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server.start()
    assert server.alive


def test_a_server_left_by_an_earlier_run_is_stopped_and_replaced(server: Postgres):
    said: list[str] = []
    successor = Postgres(server.directory, {"fsync": "off"}, say=said.append)
    successor.start()
    assert not server.alive
    assert any("earlier run" in line for line in said)
    assert int(kept(successor)) >= 0
    successor.stop()
    server.start()


def test_an_interrupted_first_start_leaves_nothing_half_made(server_directory: Path):
    half = server_directory / "half" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = Postgres(server_directory / "half", {"fsync": "off"})
    server.start()
    server.process.signal(signal.SIGINT)
    assert server.process.wait(15)
    assert server.status == 0


def test_a_server_that_cannot_start_says_where_to_read(server_directory: Path):
    with pytest.raises(Problem, match=r"server\.log"):
        Postgres(server_directory / "wrong", {"fsync": "off", "no_such_option": "on"}).start()
