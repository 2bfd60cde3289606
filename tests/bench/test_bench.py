"""./haat bench: that it measures at all, and what --check asks for. How fast it is, no test can say."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psutil
import pytest
from sqlalchemy import func, select

from bench import callers, load, requests, rows
from bench.nodejs import KEPT, SCRIPTS, installed
from bench.rows import Line, Ratio, Row
from bench.seed import UNITS, add_shop
from bench.table import ROWS
from db import tables as t
from db.unit_of_work import unit_of_work
from domain.counting import Count, apply_counts
from launch.problem import Problem
from settings import ROOT
from terminal import bench
from terminal.bench import Asked, holds

UNREACHED = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")


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

    async def rows(*what: object) -> list[Row]:
        return [row]

    class Stage:
        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(bench, "measure", rows)
    monkeypatch.setattr(bench, "stage", Stage)
    assert bench.bench(Asked(["page"], 1, 10, json=True, check=check)) is well
    (told,) = json.loads(capsys.readouterr().out)["rows"]
    assert (told["name"], told["wrong"], told["ratios"][0]["value"]) == ("page", wrong, value)


class Opened:
    def close(self) -> None: ...


async def test_a_planned_call_is_timed_from_its_moment_however_slow_those_before_it_are(monkeypatch, capsys):
    async def slow(http: object) -> None:
        await asyncio.sleep(0.02)

    async def connect(port: int) -> Opened:
        return Opened()

    monkeypatch.setattr(load, "calls", lambda job: itertools.repeat(slow))
    monkeypatch.setattr(load.Http, "connect", connect)
    await load.paced({"rate": 100, "seconds": 0.3, "concurrency": 1, "port": 0})
    told = json.loads(capsys.readouterr().out)
    assert told["done"] == 30
    assert told["per_s"] < 55
    assert told["p99_ms"] >= 30 * 20 - 290  # planned after 290 ms, done after 600


def test_webhooks_are_of_the_size_that_was_asked_for_and_every_tenth_comes_twice():
    sources = [{"id": str(n), "secret": "c2VjcmV0"} for n in range(3)]
    job = {"sources": sources, "skus": [f"SKU-{n}" for n in range(40)], "location": "BENCH-1", "lines": 3, "bytes": 2048}
    news = list(itertools.islice(callers._news(job), 30))
    assert {len(one.body) for one in news} == {2048}
    assert [n for n, (before, one) in enumerate(itertools.pairwise(news), 1) if one == before] == [9, 19, 29]
    lines = [json.loads(one.body)["data"]["lines"] for one in news]
    versions = [line["version"] for some in lines for line in some]
    assert versions == sorted(versions)
    assert len({line["sku"] for some in lines for line in some}) > 30


class Shops:
    """Where nothing is started: orders are asked for of nobody."""

    database_url, settings = "", None

    @asynccontextmanager
    async def server(self) -> AsyncIterator[int]:
        yield 0


async def test_orders_find_full_shelves_whatever_the_rows_before_have_counted(engine, monkeypatch):
    shop, found = await add_shop(engine, 3), []

    async def nobody(*_: object) -> list[object]:
        return []

    async def carry_out(**_: object) -> dict[str, float]:
        level = t.stock_level.c
        left = select(func.min(level.on_hand - level.held - level.allocated)).where(level.listing_id.in_(shop.listings))
        async with engine.connect() as connection:
            found.append((await connection.execute(left)).scalar_one())
        return {"per_s": 1, "p99_ms": 1}

    monkeypatch.setattr(requests, "add_customers", nobody)
    monkeypatch.setattr(requests, "carry_out", carry_out)
    async with unit_of_work(engine) as uow:
        later = await uow.now() + timedelta(seconds=30)
        await apply_counts([Count(id, 5, later, "snapshot", f"source:{uuid4()}") for id in shop.listings], uow)
    await requests.orders(rows.Asked(Shops(), engine, shop, 0.5, 10))
    assert set(found) == {UNITS}


def measured(*asked: str) -> dict[str, Any]:
    """Each row by its name, and nothing left running."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HAAT_")}
    ran = subprocess.run(
        [sys.executable, "cli.py", "bench", *asked, "--seconds", "0.5", "--sockets", "200", "--json"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert ran.stdout, ran.stderr[-3000:]
    rows = {row["name"]: row for row in json.loads(ran.stdout)["rows"]}
    assert not {name: row["wrong"] for name, row in rows.items() if row["wrong"]}
    assert ran.returncode == 0, ran.stderr[-3000:]
    for row in rows.values():
        assert all(line["value"] > 0 for line in row["lines"]), row
        assert all(ratio["value"] > 0 for ratio in row["ratios"]), row
    return rows


@pytest.mark.long
def test_every_row_is_measured_beside_its_raw_line():
    assert set(measured()) == set(ROWS)


@pytest.mark.long
def test_with_peers_other_peoples_servers_are_measured_too():
    try:
        installed()
    except Problem as problem:
        if any(sign in str(problem) for sign in UNREACHED):
            pytest.skip(f"npm reaches no registry: {problem}")
        raise
    rows = measured("page", "fan-out", "memory", "--peers")
    for name, peer in (("page", "Vendure"), ("fan-out", "Mercurius"), ("memory", "Mercurius")):
        assert [line["what"] for line in rows[name]["lines"] if line["what"].startswith(peer)], rows[name]
    assert not [one for one in psutil.process_iter(["cwd"]) if (one.info["cwd"] or "").startswith(str(KEPT))]


def test_what_the_peers_are_made_of_is_pinned_and_says_nothing_of_where_it_comes_from():
    wanted = json.loads((SCRIPTS / "package.json").read_text())
    locked = json.loads((SCRIPTS / "package-lock.json").read_text())["packages"]
    assert locked[""]["dependencies"] == wanted["dependencies"]
    for name, version in wanted["dependencies"].items():
        assert locked[f"node_modules/{name}"]["version"] == version
    packages = {name: package for name, package in locked.items() if name}
    assert all(package["integrity"].startswith("sha512-") and "resolved" not in package for package in packages.values())
    assert "://" not in (SCRIPTS / "package-lock.json").read_text()
