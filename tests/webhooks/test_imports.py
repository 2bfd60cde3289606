"""How far a file has come, as who sent it may ask."""

import json
import threading
from dataclasses import replace
from typing import Any
from uuid import uuid4

from domain.intake import EntityKind
from providers.catalogue_file import _CODES
from tests.docs.pages import tables
from tests.partners import Partner, client_of, partner
from tests.waiting import until
from webhooks import imports, intake
from workers import instructions as loops

RICE = {"id": "RICE-1K", "title": "Rice", "price": "120.00", "mrp": "110.00"}


def row(n: int, **more: Any) -> dict[str, Any]:
    return {"id": f"S{n}", "title": f"Thing {n}", "price": f"{n}.00", "quantity": n} | more


async def sent(seller: Partner, body: Any, query: str = "store=mine") -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await seller.client.post(seller.path(f"import?{query}"), content=raw)
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


async def asked(seller: Partner, job: str) -> dict[str, Any]:
    answer = await seller.client.get(seller.path(f"import/{job}"))
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows(told: dict[str, Any]) -> tuple[str, int, int, int, int]:
    return told["status"], told["rows_total"], told["rows_ok"], told["rows_waiting"], told["rows_failed"]


async def test_each_bad_row_is_told_and_every_row_is_counted(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    job = await sent(seller, {"rows": [row(1), RICE, row(3, quantity="many", availability="?")]})
    assert rows(await asked(seller, job)) == ("running", 3, 0, 1, 2)
    await seller.worker.drain()
    told = await asked(seller, job)
    assert told == {
        "job_id": job,
        "status": "completed_with_errors",
        "rows_total": 3,
        "rows_ok": 1,
        "rows_waiting": 0,
        "rows_failed": 2,
        "errors": [
            {"row": 2, "id": "RICE-1K", "field": "price", "code": "price_above_mrp", "message": "120.00 is above the MRP, 110.00"},
            {"row": 3, "id": "S3", "field": "quantity", "code": "not_a_number", "message": "'many' is no number"},
            {
                "row": 3,
                "id": "S3",
                "field": "availability",
                "code": "unknown_word",
                "message": told["errors"][2]["message"],
            },
        ],
    }


async def test_a_long_file_is_accepted_then_runs_then_is_completed(engine, monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE_S", 60)
    seller = await partner(engine, "catalogue_file", "mine")
    made = [row(n, description="x" * 200, **({"price": "?", "mrp": "?"} if n % 2 else {})) for n in range(1, 1_601)]
    job = await sent(seller, made)
    assert rows(await asked(seller, job)) == ("accepted", 0, 0, 0, 0)
    await seller.worker.once()
    status, total, done, waiting, failed = rows(await asked(seller, job))
    assert (status, total, failed, done + waiting) == ("running", 1_600, 800, 800)
    await seller.worker.drain()
    told = await asked(seller, job)
    assert rows(told) == ("completed_with_errors", 1_600, 800, 0, 800)
    assert (len(told["errors"]), told["errors_left_out"]) == (1_000, 600)


async def test_the_same_again_is_the_same_job(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    first = await sent(seller, [row(1)])
    assert await sent(seller, [row(1)]) == first
    await seller.worker.drain()
    assert rows(await asked(seller, first)) == ("completed", 1, 1, 0, 0)


async def test_what_waits_for_a_mapping_and_what_cannot_be_carried_out_is_told_too(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    job = await sent(seller, [row(1), row(2, store_code="later"), row(3, price="9 USD")])
    await seller.worker.drain()
    told = await asked(seller, job)
    assert rows(told) == ("completed_with_errors", 3, 1, 1, 1)
    assert {(error["row"], error["id"], error["code"]) for error in told["errors"]} == {
        (None, "S2", "mapping"),
        (None, "S3", "validation"),
        (None, "S3", "mapping"),  # its count: it is not listed
    }
    await seller.map(EntityKind.STORE, "later", seller.shop.store_id)
    await seller.worker.drain()
    assert rows(await asked(seller, job)) == ("completed_with_errors", 3, 2, 0, 1)


async def test_a_file_of_which_nothing_went_in_has_failed(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    answer = await seller.client.post(seller.path("import"), content=b"no,such,thing\n1,2,3")
    assert answer.status_code == 400
    (failure,) = await seller.failures()
    told = await asked(seller, str(failure.payload_id))
    assert rows(told) == ("failed", 0, 0, 0, 0)
    assert [(error["field"], error["code"]) for error in told["errors"]] == [("row 1", "file")]


async def test_nobody_elses_job_is_told(engine):
    seller, other = await partner(engine, "catalogue_file", "mine"), await partner(engine, "catalogue_file", "theirs")
    job = await sent(seller, [row(1)])
    for path in (other.path(f"import/{job}"), seller.path(f"import/{uuid4()}"), seller.path("import/x")):
        assert (await seller.client.get(path)).status_code == 404
    wrong = seller.path(f"import/{job}").replace(seller.text, "A" * len(seller.text))
    assert (await seller.client.get(wrong)).status_code == 404
    assert (await seller.client.get(seller.path("import"))).status_code == 405


def test_every_code_stands_on_the_page():
    told = {code.strip("` ") for line in tables("providers/catalogue_file.md", "How far it is") for code in line[0].split(",")}
    assert {code for _, code in _CODES} | {"invalid"} <= told


async def test_a_report_that_takes_long_is_made_once_and_found_by_who_asks_again(engine, monkeypatch):
    """Whoever asks is not kept waiting for ever; nothing of what was read by then is lost, and no thread is taken twice."""
    seller, other = await partner(engine, "catalogue_file", "mine"), await partner(engine, "catalogue_file", "theirs")
    other.door = replace(other.door, reports=seller.door.reports)
    other.client = client_of(other.door)
    job, second = await sent(seller, {"rows": [row(1), RICE]}), await sent(seller, {"rows": [row(2), RICE]})
    theirs = await sent(other, {"rows": [row(3), RICE]}, "store=theirs")
    for one in (seller, other):
        await one.worker.drain()
    began, by, goes_on = [], set[str](), threading.Event()
    read = imports._left_out

    def slow(*given: Any) -> Any:
        began.append(given)
        by.add(threading.current_thread().name)
        assert goes_on.wait(30)
        return read(*given)

    with monkeypatch.context() as patched:
        patched.setattr(imports, "_left_out", slow)
        patched.setattr(intake, "DEADLINE_S", 0.1)
        for asked_for in (job, job, second, job, second):
            assert (await seller.client.get(seller.path(f"import/{asked_for}"))).status_code == 503
        assert (await other.client.get(other.path(f"import/{theirs}"))).status_code == 503
        assert len(began) == 1
        goes_on.set()
        await until(lambda: len(began) == 2)  # its turn came, though nobody waits for it
    assert [rows(await asked(*ask))[4] for ask in ((seller, job), (seller, second), (other, theirs))] == [1, 1, 1]
    assert len(began) == 2
    assert by == {"reports"}  # which nobody waits for at the exit, as for asyncio's own


async def test_a_report_that_cannot_be_made_is_tried_again_by_who_asks_again(engine, monkeypatch):
    seller = await partner(engine, "catalogue_file", "mine")
    job = await sent(seller, {"rows": [row(1), RICE]})
    await seller.worker.drain()

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(imports, "_left_out", broken)
        assert (await seller.client.get(seller.path(f"import/{job}"))).status_code == 503
    assert rows(await asked(seller, job))[4] == 1
