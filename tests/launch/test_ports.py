import socket

import pytest

from launch.ports import listen
from launch.problem import Problem


def test_a_busy_port_moves_to_the_next_free_one():
    first = listen("127.0.0.1", 0)
    second = listen("127.0.0.1", first.port)
    with first.socket, second.socket:
        assert not first.moved
        assert second.moved
        assert second.port > first.port


def test_when_none_is_free_it_says_so():
    first = listen("127.0.0.1", 0)
    with first.socket, pytest.raises(Problem, match="no free port"):
        listen("127.0.0.1", first.port, tries=1)


def test_what_is_accepted_gives_up_a_peer_that_acknowledges_nothing():
    here = listen("127.0.0.1", 0)
    with here.socket, socket.create_connection(("127.0.0.1", here.port)):
        accepted, _ = here.socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
