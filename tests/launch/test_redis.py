import socket

import pytest
from redis import AuthenticationError
from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from launch import redis
from launch.redis import Redis, find_program


@pytest.fixture(scope="module")
def server(server_directory):
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis for this Python and machine")
    server = Redis(program, server_directory / "own-redis.log")
    server.start()
    yield server
    server.stop()


def test_a_killed_redis_starts_again_where_it_was(server: Redis):
    url = server.url
    server.kill()
    assert not server.alive
    server.start()
    with Client.from_url(url) as client:
        assert client.ping()


def test_slow_readers_are_cut_off_and_nothing_is_written_to_disk(server: Redis):
    with Client.from_url(server.url) as client:
        names = ("client-output-buffer-limit", "save", "tcp-keepalive", "maxmemory")
        set_to = {name: client.config_get(name)[name] for name in names}  # 6.2 takes one at a time
    assert "pubsub 8388608 2097152 15" in set_to["client-output-buffer-limit"]
    assert (set_to["save"], set_to["tcp-keepalive"], int(set_to["maxmemory"]) > 0) == ("", "30", True)


def test_it_answers_nobody_without_the_password(server: Redis):
    once = Retry(NoBackoff(), 0)
    with Client(port=server.port, retry=once) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_one_on_path_wins_over_the_bundled_one(tmp_path, monkeypatch):
    (tmp_path / "valkey-server").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program().path == tmp_path / "valkey-server"


def test_without_any_there_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(redis, "bundled_program", lambda: None)
    assert find_program() is None


def test_nobody_else_at_the_port_is_taken_for_it(server: Redis):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = Redis(server.program)
        other.port = silent.getsockname()[1]
        assert not other.answers()
