"""What we ask of others' servers: nothing but the world's, however the address is written, and no more than was asked."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from adapters.fetching import NAMES, Names, SafeFetch, is_public
from domain.access import Ask, AskFailed
from workers import pictures, pulling, telling

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "feff::1",
    "ff02::1", "2001:db8::1", "100::1", "nonsense", "", "127.1", "0x7f.1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]
# What leads to this machine or to a private network, however it is written. The listener is asked for at its own port, too.
URLS = [
    "https://127.0.0.1", "https://127.0.0.1:443", "https://localhost", "https://LOCALHOST", "https://localhost.",
    "https://2130706433", "https://0x7f000001", "https://0177.0.0.1", "https://127.1", "https://127.0.1", "https://0",
    "https://0.0.0.0", "https://[::1]", "https://[::]", "https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]",
    "https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::]", "https://[::127.0.0.1]", "https://169.254.169.254/latest/meta-data",
    "https://[fd00:ec2::254]", "https://10.0.0.1", "https://172.16.5.5", "https://192.168.0.1", "https://100.100.100.200",
    "https://[fe80::1]", "https://[fc00::1]", "https://user@127.0.0.1", "https://user:pass@127.0.0.1", "https://8.8.8.8@127.0.0.1",
    "https://127.0.0.1#@8.8.8.8", "https://127.0.0.1?@8.8.8.8", "http://127.0.0.1", "http://localhost", "http://8.8.8.8",
    "http://[::1]", "http://169.254.169.254", "ftp://127.0.0.1", "file:///etc/passwd", "gopher://127.0.0.1", "//127.0.0.1",
    "127.0.0.1", "", "https://", "https:///", "https://127.0.0.1:0", "https://127.0.0.1:99999", "https://127.0.0.1:x",
    "https://8.8.8.8:22", "https://8.8.8.8:6379", "https://[", "https://[::1", "https://\u2460\u2461\u2466.0.0.1", "https://127。0。0。1",
    "https://0x7f.0.0.1", "https://0x7f.1", "https://017700000001", "https://127.0.0.1.", "https://127.000.000.001",
    "https://[0:0:0:0:0:0:0:1]", "https://[0:0:0:0:0:ffff:127.0.0.1]", "https://ⓛocalhost",
    "https://127.0.0.1\t", "https:// 127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_the_worlds_is_none_of_ours(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_world_is_public(address):
    assert is_public(address)


class Listener:
    """Counts who comes."""

    def __init__(self) -> None:
        self.came, self.heard, self.port = 0, b"", 0
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.heard = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


async def refused(fetch: SafeFetch, url: str, ask: Ask = Ask("GET", "/x")) -> AskFailed:
    with pytest.raises(AskFailed) as no:
        await fetch.fetch(url, ask)
    return no.value


@pytest.mark.parametrize("url", URLS)
async def test_nothing_private_is_reached_however_it_is_written(url):
    asked, names = list[str](), Names()

    async def looked_up(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return await names(host, port)

    async with listening() as listener:
        await refused(SafeFetch(timeout_s=2, resolve=looked_up), url)
        if "127.0.0.1" in url:
            await refused(SafeFetch(timeout_s=2), url.replace("127.0.0.1", f"127.0.0.1:{listener.port}"))
        assert listener.came == 0


async def test_a_name_is_looked_up_once_and_one_private_address_of_it_is_one_too_many():
    looked_up: list[str] = []

    async def mixed(host: str, port: int) -> Sequence[str]:
        looked_up.append(host)
        return ["8.8.8.8", "127.0.0.1"]

    assert "not public" in (await refused(SafeFetch(resolve=mixed), "https://partner.example")).message
    assert looked_up == ["partner.example"]


async def test_whether_there_is_such_a_name_among_ours_is_not_told():
    async def private(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.5"]

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for url in ("https://db.internal", "http://db.internal", "https://db.internal:6379"):
        there, nowhere = [await refused(SafeFetch(resolve=resolve), url) for resolve in (private, unknown)]
        assert (there.message, there.retry, there.after_s) == (nowhere.message, nowhere.retry, nowhere.after_s)


async def test_a_name_that_is_another_the_second_time_is_asked_for_once():
    """The connection goes to what was looked at: there is no second look to be deceived by."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async with listening() as listener:
        await refused(SafeFetch(resolve=rebinding, timeout_s=0.2), "https://partner.example")
        assert listener.came == 0
    assert answers == [["127.0.0.1"]]


async def test_a_name_that_nobody_answers_for_is_waited_for_by_nobody_else(monkeypatch):
    answered, looked_up = Event(), Counter[str]()

    def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        looked_up[host] += 1
        if host.endswith("dead.example"):
            assert answered.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    dead = [f"{number}.dead.example" for number in range(NAMES // 2)]
    hasty = SafeFetch(loopback=True, timeout_s=0.2)
    patient = replace(hasty, timeout_s=10)  # whose names are looked up by the same threads
    try:
        async with listening() as listener:
            for _ in range(3):  # who has left has not ended the lookup
                said = await asyncio.gather(*(refused(hasty, f"https://{host}") for host in dead * 2))
                assert {no.message for no in said} == {"no answer within 0.2 s"}
            assert looked_up == dict.fromkeys(dead, 1)
            others = [f"http://{number}.example:{listener.port}" for number in range(40)]
            replies = await asyncio.gather(*(patient.fetch(url, Ask("GET", "/x")) for url in others))
            assert ([reply.status for reply in replies], listener.came) == ([200] * 40, 40)
    finally:
        answered.set()


async def test_a_name_is_looked_up_anew_once_somebody_has_answered(monkeypatch):
    answers: list[Any] = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "127.0.0.1", "127.0.0.2"]

    def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        match answers.pop(0):
            case str() as address:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
            case error:
                raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    names = Names()
    said = await asyncio.gather(*(names("a.example", 443) for _ in range(3)), return_exceptions=True)
    assert [type(no) for no in said] == [socket.gaierror] * 3
    assert [await names("a.example", 443) for _ in range(2)] == [["127.0.0.1"], ["127.0.0.2"]]


def test_there_are_more_threads_for_names_than_turns_beside_each_other():
    turns = (pulling.AT_ONCE + pulling.ASIDE_MOST, telling.AT_ONCE + telling.ASIDE_MOST, pictures.HOSTS * pictures.PER_HOST)
    assert max(turns) < NAMES


async def test_in_development_this_machine_may_be_asked_and_no_other():
    async with listening() as listener:
        fetch = SafeFetch(loopback=True)
        ask = Ask("POST", "/a/b", {"q": "1 2"}, {"x-key": "k"}, b"{}")
        reply = await fetch.fetch(f"http://127.0.0.1:{listener.port}/base/", ask)
        assert (reply.status, reply.body) == (200, b"ok")
        head, *lines = listener.heard.decode().split("\r\n")
        assert head in ("POST /base/a/b?q=1+2 HTTP/1.1", "POST /base/a/b?q=1%202 HTTP/1.1")
        headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines if line}
        assert (headers["host"], headers["x-key"]) == (f"127.0.0.1:{listener.port}", "k")
        for url in ("http://10.0.0.1", "http://169.254.169.254", "https://192.168.0.1", "http://8.8.8.8"):
            await refused(fetch, url)


async def test_it_is_not_led_elsewhere_and_remembers_nothing():
    async with listening() as listener:
        fetch, url = SafeFetch(loopback=True), f"http://127.0.0.1:{listener.port}"
        listener.answer = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        assert (await fetch.fetch(url, Ask("GET", "/x"))).status == 302
        assert listener.came == 1
        await fetch.fetch(url, Ask("GET", "/x"))
        assert b"a=b" not in listener.heard


async def test_an_answer_has_an_end_in_size_and_in_time():
    async with listening() as listener:
        url = f"http://127.0.0.1:{listener.port}"
        listener.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        assert "longer than 999" in (await refused(SafeFetch(loopback=True, most_bytes=999), url)).message
        listener.answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"
        assert "compressed" in (await refused(SafeFetch(loopback=True), url)).message
        listener.answer = b"no HTTP at all\r\n\r\n"
        assert (await refused(SafeFetch(loopback=True), url)).retry

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert "within 0.2 s" in (await refused(SafeFetch(loopback=True, timeout_s=0.2), url)).message
