"""The demo town up and running, and the operator's commands beside it. It is started once."""

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo.town import BUSINESSES, PASSWORD
from launch.load import load
from launch.problem import Problem
from settings import Settings
from terminal.desk import at_desk
from terminal.replay import Asked as Replayed
from terminal.replay import replay
from terminal.webhook import Asked, Prepared, prepare, send
from tests.launch.towns import Town, alive, eventually, haat, town

Told = dict[str, Any]
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def data(server_directory: Path) -> Path:
    return server_directory / "demo-town"


@pytest.fixture(scope="module")
def running(data: Path) -> Iterator[Town]:
    with town(data, "--port", "0", empty=False) as here:
        yield here


@pytest.fixture(scope="module")
def told(running: Town) -> Told:
    return running.ready()


@pytest.fixture(scope="module")
def settings(told: Told, data: Path) -> Settings:
    return load(data=data)


def ask(told: Told, query: str, token: str | None = None) -> Told:
    url = urlsplit(told["graphql"])
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request("POST", url.path, json.dumps({"query": query}), headers)
        answer: Told = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert "errors" not in answer, answer
    data: Told = answer["data"]
    return data


def call(settings: Settings, asked: Asked, repeat: int = 1) -> list[int]:
    prepared: Prepared = at_desk(lambda desk: prepare(asked, desk), settings)
    return list(send(prepared, repeat))


def test_the_ready_line_says_how_to_call_and_as_whom(told: Told):
    assert set(told) == {"url", "graphql", "logins", "sources", "stores"}
    assert told["graphql"] == f"{told['url']}/graphql"
    assert set(told["logins"]) == {"customer", "merchant", "rider", "support"}
    assert all(set(login) == {"login", "password", "token"} for login in told["logins"].values())
    assert [store["slug"] for store in told["stores"]] == [shop.slug for business in BUSINESSES for shop in business.shops]
    assert set(told["sources"]) == {"petpooja", "wms"}
    for provider, doors in (("petpooja", {"menu", "inventory", "store-status"}), ("wms", {"stock"})):
        source = told["sources"][provider]
        assert set(source) == {"id", "secret", "store", "endpoints"}
        assert doors <= set(source["endpoints"])
        assert all(url.startswith(f"{told['url']}/v1/integrations/") for url in source["endpoints"].values())


@pytest.mark.parametrize("app", ["customer", "merchant", "rider", "support"])
def test_each_login_signs_in_and_its_token_is_good(told: Told, app: str):
    login = told["logins"][app]
    session = ask(
        told,
        f'mutation {{ signIn(login: "{login["login"]}", password: "{PASSWORD}", app: {app.upper()})'
        " { ... on Session { viewer { role } } ... on Refusal { code } } }",
    )
    assert session == {"signIn": {"viewer": {"role": app.upper()}}}
    assert ask(told, "{ viewer { role } }", login["token"]) == {"viewer": {"role": app.upper()}}


def test_tables_for_people_are_on_standard_error(running: Town, told: Told):
    for words in ("GraphQL over WebSocket", "owner of namma-bazaar", told["sources"]["wms"]["secret"], "/readyz"):
        assert words in running.said()


def test_a_tills_call_switches_a_dish_off_for_everybody(told: Told, settings: Settings, capsys: Output):
    kitchen = next(store["id"] for store in told["stores"] if "kitchen" in store["slug"])
    listings = f'{{ store(id: "{kitchen}") {{ listings(filter: {{ text: "Chicken 65" }}) {{ nodes {{ stock {{ state }} }} }} }} }}'

    def state() -> str:
        (listing,) = ask(told, listings)["store"]["listings"]["nodes"]
        return str(listing["stock"]["state"])

    assert state() == "UNTRACKED"
    assert call(settings, Asked("petpooja", "stock")) == [200]
    said = capsys.readouterr().out
    assert said.startswith(f"POST {told['sources']['petpooja']['endpoints']['inventory']}\n")
    assert '"message": "Stock updated"' in said
    assert eventually(lambda: state() == "OUT_OF_STOCK")
    assert call(settings, Asked("petpooja", "stock", ["inStock=true"], "namma-kitchen-koramangala")) == [200]
    assert eventually(lambda: state() == "UNTRACKED")


def test_a_signed_call_counts_the_shelf_and_a_repeat_counts_it_once(told: Told, settings: Settings):
    shop = told["stores"][0]["id"]
    listings = f'{{ store(id: "{shop}") {{ listings(filter: {{ text: "Rock Salt" }}) {{ nodes {{ stock {{ available }} }} }} }} }}'

    def available() -> int:
        (listing,) = ask(told, listings)["store"]["listings"]["nodes"]
        return int(listing["stock"]["available"])

    before = available()
    assert call(settings, Asked("wms", "stock.adjusted", ["sku=RSALT-1K", "delta=-4"]), repeat=3) == [200, 200, 200]
    assert eventually(lambda: available() == before - 4)


@pytest.mark.parametrize(("provider", "event", "status"), [("wms", "stock.snapshot", 401), ("petpooja", "menu", 404)])
def test_who_does_not_know_the_secret_is_refused(settings: Settings, provider: str, event: str, status: int):
    assert call(settings, Asked(provider, event, bad_signature=True)) == [status]


def test_the_command_ends_well_when_it_was_answered_as_it_should_be(told: Told, data: Path):
    refused = haat("webhook", "wms", "price.updated", "--bad-signature", env={"HAAT_DATA": str(data)})
    assert (refused.returncode, "401 Unauthorized" in refused.stdout) == (0, True), refused.stderr
    wrong = haat("webhook", "wms", "price.updated", "--set", "price=999.00", env={"HAAT_DATA": str(data)})
    assert wrong.returncode == 1
    assert "above the MRP" in wrong.stdout


def test_what_is_not_known_is_explained(told: Told, settings: Settings):
    for asked, says in (
        (Asked("wms", "nope"), "choose from stock.snapshot, stock.adjusted"),
        (Asked("wms", None), "which event?"),
        (Asked("till", "menu"), "there is no source till: those there are: petpooja, wms"),
        (Asked("wms", "stock.adjusted", ["sku"]), "write it like --set sku=TEA-250"),
        (Asked("wms", "stock.adjusted", ["nope.x=1"]), "there is no nope.x in this sample"),
        (Asked("wms", "stock.adjusted", ["nope=1"]), "there is no nope in this sample"),
    ):
        with pytest.raises(Problem) as problem:
            call(settings, asked)
        assert says in str(problem.value)


def test_what_waits_for_a_mapping_is_replayed_and_a_stranger_is_not(settings: Settings, capsys: Output):
    assert call(settings, Asked("wms", "stock.adjusted", ["sku=NOBODYS"])) == [200]
    mapping = Replayed(provider="wms", kind="mapping")

    def replayed() -> bool:
        capsys.readouterr()
        at_desk(lambda desk: replay(mapping, desk), settings)
        return "1 of 1: 1 failed again (provider wms, state OPEN, kind MAPPING)" in capsys.readouterr().out

    assert eventually(replayed)
    call(settings, Asked("wms", "stock.adjusted", bad_signature=True))
    capsys.readouterr()
    assert not at_desk(lambda desk: replay(Replayed(kind="auth", since="1h"), desk), settings)
    assert " refused (state OPEN, kind AUTH" in capsys.readouterr().out  # and those of the tests before


def test_stopped_it_leaves_nothing_and_the_next_start_tells_the_same(running: Town, told: Told, data: Path):
    """Last, for it ends the town of the tests before."""
    family = running.family()
    assert running.end(signal.SIGINT) == 0
    assert not alive(family)
    with town(data, "--port", "0", empty=False) as again:
        second = again.ready()
    assert second["stores"] == told["stores"]
    for provider, source in told["sources"].items():
        assert {**second["sources"][provider], "endpoints": None} == {**source, "endpoints": None}
