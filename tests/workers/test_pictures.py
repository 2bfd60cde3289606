"""Pictures are copied as they are told of, over real HTTP: what apps show becomes ours, and nothing waits for it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import delete, func, select, update
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response

from adapters.fetching import SafeFetch
from db import tables as t
from db.catalog import PRODUCT, to_product
from db.pictures import SqlPictures
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.blobs import sweep
from domain.catalog import Product, UpsertedProduct, apply_products, put_back_products
from domain.pictures import ATTEMPTS, IMAGE_BYTES, PictureState
from domain.refusals import Refused, Unavailable
from tests.blobs import Shelf
from tests.partners import dish, menu, partner
from tests.simulators.pictures import PNG, Pictures
from tests.simulators.serving import serving
from tests.waiting import until
from tests.world import Shop, shop
from webhooks.images import ImageDoor
from workers import pictures as loops

c = t.picture.c
TEA, RICE = PNG + b"tea" * 500, b"\xff\xd8\xff" + b"rice" * 500


async def here(host: str, port: int) -> list[str]:
    """Every name leads to the simulator."""
    return ["127.0.0.1"]


class Town:
    """One shop, a host of pictures, the worker that copies them, and who looks at ours."""

    def __init__(self, engine: Any, host: Pictures, url: str, mine: Shop) -> None:
        self.engine, self.host, self.url, self.mine, self.shelf = engine, host, url, mine, Shelf()
        fetch = SafeFetch(loopback=True, timeout_s=1.0, most_bytes=IMAGE_BYTES, resolve=here)
        self.worker = loops.Pictures(self.begin, fetch, self.shelf, dice=lambda: 0.5)
        app = Starlette(routes=ImageDoor(Reads(engine), self.shelf).routes())
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://haat.test")

    def begin(self) -> Any:
        return unit_of_work(self.engine)

    async def told(self, *images: str, product_id: Any = None) -> Any:
        """A product with these images. Returns its id."""
        new = UpsertedProduct(product_id, self.mine.merchant_id, "Tea", images=tuple(images))
        async with self.begin() as uow:
            [id] = await apply_products([new], uow)
        return id

    async def work(self) -> None:
        """Until nobody's turn has come."""
        while await self.worker.once():
            pass

    async def later(self) -> None:
        """Whatever was put off: its time has come."""
        async with self.engine.begin() as connection:
            await connection.execute(update(t.picture).values(next_at=func.clock_timestamp() - timedelta(seconds=1)))
        await self.work()

    async def product(self, id: Any) -> Product:
        async with self.engine.connect() as connection:
            return to_product((await connection.execute(select(*PRODUCT).where(t.product.c.id == id))).one())

    async def states(self) -> dict[str, tuple[PictureState, int]]:
        """By the path."""
        async with self.engine.connect() as connection:
            rows = (await connection.execute(select(c.url, c.state, c.attempts))).all()
        return {row.url.removeprefix(self.url): (row.state, row.attempts) for row in rows}

    async def events(self, id: Any) -> list[Any]:
        e = t.event.c
        async with self.engine.connect() as connection:
            return list((await connection.execute(select(e.seq, e.body).where(e.entity_id == id).order_by(e.seq))).all())


@pytest.fixture
async def town(engine) -> AsyncIterator[Town]:
    async with engine.begin() as connection:
        for table in (t.picture, t.picture_use, t.image, t.blob_stray):
            await connection.execute(delete(table))
    host = Pictures()
    async with serving(host.app()) as url:
        yield Town(engine, host, url, await shop(engine))


def ours(data: bytes) -> str:
    return f"/v1/images/{hashlib.sha256(data).hexdigest()}"


async def test_a_picture_becomes_ours_and_everybody_is_told(town):
    town.host.put("tea.png", TEA)
    id = await town.told(f"{town.url}/tea.png", f"{town.url}/gone.png")
    assert list((await town.product(id)).pictures) == [f"{town.url}/tea.png", f"{town.url}/gone.png"]
    await town.work()
    after = await town.product(id)
    assert list(after.pictures) == [ours(TEA), f"{town.url}/gone.png"]
    assert list(after.images) == [f"{town.url}/tea.png", f"{town.url}/gone.png"]  # what the source said stays said
    assert after.version == 2
    assert [event.seq for event in await town.events(id)] == [1, 2]
    assert (await town.events(id))[-1].body["product"]["copies"] == list(after.copies)
    assert await town.states() == {"/tea.png": (PictureState.COPIED, 1), "/gone.png": (PictureState.FAILED, 1)}


async def test_pictures_that_are_put_back_are_shown_and_not_those_that_came_instead(town):
    town.host.put("tea.png", TEA)
    town.host.put("rice.png", RICE)
    tea, rice = f"{town.url}/tea.png", f"{town.url}/rice.png"
    id = await town.told(tea)
    await town.work()
    await town.told(rice, tea, product_id=id)
    await town.work()
    assert list((await town.product(id)).pictures) == [ours(RICE), ours(TEA)]
    async with town.begin() as uow:
        await put_back_products({id: {"images": (tea,)}}, "undo:1", uow)
    assert list((await town.product(id)).pictures) == [ours(TEA)]
    assert "/rice.png" not in await town.states()  # nobody shows it
    assert [event.seq for event in await town.events(id)] == list(range(1, (await town.product(id)).version + 1))


async def test_ours_is_served_for_ever_and_runs_nothing(town):
    town.host.put("tea.png", Response(TEA, media_type="text/html"))
    await town.told(f"{town.url}/tea.png")
    await town.work()
    answer = await town.client.get(ours(TEA))
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, TEA, "image/png")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    again = await town.client.get(ours(TEA), headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])


async def test_what_is_not_there_is_not_cached(town):
    for path in ("/v1/images/" + "0" * 64, "/v1/images/x", "/v1/images/" + "G" * 64):
        answer = await town.client.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")


async def test_where_the_store_is_away_or_lies_nothing_wrong_is_shown(town):
    town.host.put("tea.png", TEA)
    await town.told(f"{town.url}/tea.png")
    await town.work()
    town.shelf.down = True
    answer = await town.client.get(ours(TEA))
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["cache-control"]) == (503, "5", "no-store")
    town.shelf.down = False
    [key] = town.shelf.held
    town.shelf.held[key] = RICE
    assert (await town.client.get(ours(TEA))).status_code == 404


async def test_one_address_is_asked_once_and_one_image_is_kept_once(town):
    town.host.put("tea.png", TEA)
    town.host.put("the-same.png", TEA)
    first, second = await town.told(f"{town.url}/tea.png"), await town.told(f"{town.url}/tea.png")
    third = await town.told(f"{town.url}/the-same.png", f"{town.url}/tea.png")
    await town.work()
    assert sorted(town.host.asked) == ["/tea.png", "/the-same.png"]
    for id in (first, second, third):
        assert set((await town.product(id)).pictures) == {ours(TEA)}
    async with town.engine.begin() as connection:
        await connection.execute(update(t.blob_stray).values(at=func.clock_timestamp() - timedelta(days=2)))
    await sweep(town.shelf, town.begin)
    assert len(town.shelf.held) == 1
    assert (await town.client.get(ours(TEA))).content == TEA


async def test_what_we_have_is_shown_at_once(town):
    town.host.put("tea.png", TEA)
    await town.told(f"{town.url}/tea.png")
    await town.work()
    later = await town.product(await town.told(f"{town.url}/tea.png"))
    assert (list(later.pictures), later.version) == ([ours(TEA)], 1)
    assert town.host.asked == ["/tea.png"]


async def test_a_product_that_is_told_while_its_picture_is_fetched_shows_it_too(town):
    """Whoever told of it has locked the picture: its copying ends after that, and finds the product."""
    town.host.put("tea.png", TEA)
    town.host.slow_s = 0.1
    first = await town.told(f"{town.url}/tea.png")
    new = UpsertedProduct(None, town.mine.merchant_id, "More tea", images=(f"{town.url}/tea.png",))
    working = asyncio.create_task(town.worker.once())
    await until(lambda: town.host.asked)
    async with town.begin() as uow:
        [second] = await apply_products([new], uow)
        done, _ = await asyncio.wait([working], timeout=0.4)  # long enough to be fetched
        assert not done
    await working
    await town.work()
    assert [list((await town.product(id)).pictures) for id in (first, second)] == [[ours(TEA)]] * 2


async def test_other_images_are_shown_as_they_are_told(town):
    town.host.put("tea.png", TEA)
    town.host.put("rice.jpg", RICE)
    id = await town.told(f"{town.url}/tea.png")
    await town.work()
    await town.told(f"{town.url}/tea.png", f"{town.url}/rice.jpg", product_id=id)
    assert list((await town.product(id)).pictures) == [ours(TEA), f"{town.url}/rice.jpg"]
    await town.work()
    assert list((await town.product(id)).pictures) == [ours(TEA), ours(RICE)]
    await town.told(product_id=id)
    assert ((await town.product(id)).pictures, (await town.product(id)).copies) == ((), ())


async def test_the_same_told_again_changes_nothing(town):
    town.host.put("tea.png", TEA)
    id = await town.told(f"{town.url}/tea.png")
    await town.work()
    await town.told(f"{town.url}/tea.png", product_id=id)
    assert (await town.product(id)).version == 2
    await town.later()
    assert town.host.asked == ["/tea.png"]


async def test_an_address_that_no_product_shows_any_more_is_forgotten(town):
    """Those that are signed anew each day would be more and more."""
    town.host.put("tea.png", TEA)
    first, second = await town.told(f"{town.url}/tea.png?1"), await town.told(f"{town.url}/tea.png?1")
    await town.work()
    await town.told(f"{town.url}/tea.png?2", product_id=first)
    assert set(await town.states()) == {"/tea.png?1", "/tea.png?2"}
    await town.told(f"{town.url}/tea.png?2", product_id=second)
    assert set(await town.states()) == {"/tea.png?2"}
    await town.work()
    assert [list((await town.product(id)).pictures) for id in (first, second)] == [[ours(TEA)]] * 2
    assert len(town.shelf.held) == 1


async def test_an_address_that_a_product_gives_up_while_another_takes_it_stays(town):
    first = await town.told(f"{town.url}/tea.png")
    new = UpsertedProduct(None, (await shop(town.engine)).merchant_id, "More tea", images=(f"{town.url}/tea.png",))
    async with town.begin() as uow:
        await apply_products([new], uow)
        await town.told(product_id=first)
    assert set(await town.states()) == {"/tea.png"}


async def test_a_signed_query_is_asked_as_it_is_written(town):
    town.host.put("tea.png", TEA)
    await town.told(f"{town.url}/tea.png?X-Sig=a%2Fb%3D&x=1#part")
    await town.work()
    assert town.host.asked == ["/tea.png?X-Sig=a%2Fb%3D&x=1"]


@pytest.mark.parametrize(
    "answer",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"",
        Response(status_code=404),
        Response(status_code=403),
        RedirectResponse("http://127.0.0.1/secret"),
        PNG + b"\0" * IMAGE_BYTES,
    ],
    ids=["svg", "nothing", "gone", "forbidden", "elsewhere", "large"],
)
async def test_what_is_no_picture_of_ours_is_asked_for_once_and_the_sources_address_stays(town, answer, caplog):
    town.host.put("tea.png", answer)
    id = await town.told(f"{town.url}/tea.png")
    await town.work()
    await town.later()
    assert await town.states() == {"/tea.png": (PictureState.FAILED, 1)}
    assert list((await town.product(id)).pictures) == [f"{town.url}/tea.png"]
    assert town.shelf.held == {}
    assert len(town.host.asked) == 1
    assert "was not to be had" in caplog.text


@pytest.mark.parametrize("path", ["/t\x01ea.png", "/tea\x7f.png", "/" + "x" * 70_000], ids=["control", "delete", "endless"])
async def test_an_address_that_is_none_fails_with_its_reason(town, path, caplog):
    await town.told(f"{town.url}{path}")
    await town.work()
    await town.later()
    assert await town.states() == {path: (PictureState.FAILED, 1)}
    async with town.engine.connect() as connection:
        assert (await connection.execute(select(c.problem))).scalar_one() == "the address is none"
    assert [record.levelname for record in caplog.records if record.name == "haat.pictures"] == ["WARNING"]


async def test_a_picture_that_cannot_be_given_up_stays_held_and_its_neighbours_are_copied(town, monkeypatch):
    """The database goes away in that very moment."""
    town.host.put("tea.png", TEA)
    id = await town.told(f"{town.url}/gone.png", f"{town.url}/tea.png")

    async def away(*_: Any) -> None:
        raise Refused(Unavailable("the database does not answer"))

    with monkeypatch.context() as broken:
        broken.setattr(SqlPictures, "give_up", away)
        assert await town.worker.once()
    assert await town.states() == {"/gone.png": (PictureState.WANTED, 1), "/tea.png": (PictureState.COPIED, 1)}
    await town.later()
    assert await town.states() == {"/gone.png": (PictureState.FAILED, 2), "/tea.png": (PictureState.COPIED, 1)}
    assert list((await town.product(id)).pictures) == [f"{town.url}/gone.png", ours(TEA)]


async def test_a_host_that_breaks_is_asked_again_until_it_answers(town):
    broken = Response(status_code=503)
    town.host.put("tea.png", broken, broken, TEA)
    id = await town.told(f"{town.url}/tea.png")
    await town.work()
    assert await town.states() == {"/tea.png": (PictureState.WANTED, 1)}
    await town.later()
    await town.later()
    assert list((await town.product(id)).pictures) == [ours(TEA)]
    assert await town.states() == {"/tea.png": (PictureState.COPIED, 3)}


async def test_a_host_that_stays_broken_is_given_up_and_asked_again_when_it_is_told_again(town):
    town.host.put("tea.png", Response(status_code=500))
    id = await town.told(f"{town.url}/tea.png")
    for _ in range(ATTEMPTS + 2):
        await town.later()
    assert await town.states() == {"/tea.png": (PictureState.FAILED, ATTEMPTS)}
    assert len(town.host.asked) == ATTEMPTS
    town.host.put("tea.png", TEA)
    await town.told(f"{town.url}/tea.png", f"{town.url}/rice.jpg", product_id=id)  # its time has come long ago
    await town.work()
    assert (await town.product(id)).pictures[0] == ours(TEA)


async def test_nothing_of_ours_is_ever_asked(town):
    """As in production: this machine is not the world's."""
    town.worker = loops.Pictures(town.begin, SafeFetch(timeout_s=1.0), town.shelf)
    await town.told(
        f"{town.url}/tea.png", "https://169.254.169.254/latest/meta-data", "https://[", "https:///x", "data:image/png,x"
    )
    for _ in range(ATTEMPTS):
        await town.later()
    assert town.host.asked == []
    assert {state for state, _ in (await town.states()).values()} == {PictureState.FAILED}
    assert town.shelf.held == {}


async def test_a_host_is_asked_for_so_many_at_once_and_does_not_stand_before_others(town):
    town.host.slow_s = 0.05
    for number in range(12):
        town.host.put(f"{number}.png", TEA)
    await town.told(*(f"{town.url}/{number}.png" for number in range(12)))
    other = town.url.replace("127.0.0.1", "other.example")
    town.host.put("other.png", RICE)
    await town.told(f"{other}/other.png")
    assert await town.worker.once()
    assert (len(town.host.asked), "/other.png" in town.host.asked) == (loops.PER_HOST + 1, True)
    await asyncio.gather(town.work(), town.work())
    assert sorted(town.host.asked) == sorted({*town.host.asked})  # two workers, and nothing twice
    assert town.host.most_at_once <= 2 * loops.PER_HOST + 1


async def test_who_has_many_hosts_does_not_stand_before_other_merchants(town):
    await town.told(*(town.url.replace("127.0.0.1", f"{number}.dead.example") + "/gone.png" for number in range(300)))
    town.mine = await shop(town.engine)
    for number in range(6):
        town.host.put(f"{number}.png", TEA)
    await town.told(*(town.url.replace("127.0.0.1", f"{number % 3}.other.example") + f"/{number}.png" for number in range(6)))
    assert await town.worker.once()
    assert len(town.host.asked) == loops.HOSTS * loops.PER_HOST
    assert {f"/{number}.png" for number in range(6)} < {*town.host.asked}


async def test_while_the_store_is_away_a_picture_waits_and_no_try_is_lost(town):
    town.host.put("tea.png", TEA)
    id = await town.told(f"{town.url}/tea.png")
    town.shelf.down = True
    for _ in range(ATTEMPTS + 1):
        await town.later()
    assert await town.states() == {"/tea.png": (PictureState.WANTED, 0)}
    town.shelf.down = False
    await town.later()
    assert list((await town.product(id)).pictures) == [ours(TEA)]


@pytest.mark.parametrize("moment", ["between blob and row", "between row and products"])
async def test_who_dies_in_the_middle_leaves_it_to_the_next(town, monkeypatch, moment):
    town.host.put("tea.png", TEA)
    id = await town.told(f"{town.url}/tea.png")

    async def dies(*_: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as killed:
        if moment == "between blob and row":
            town.shelf.after_put = dies
        else:
            killed.setattr(loops, "show_copy", dies)
        with pytest.raises(asyncio.CancelledError):
            await town.worker.once()
    town.shelf.after_put = None
    assert list((await town.product(id)).pictures) == [f"{town.url}/tea.png"]
    assert not await town.worker.once()  # it is held still
    await town.later()
    assert list((await town.product(id)).pictures) == [ours(TEA)]
    async with town.engine.begin() as connection:
        await connection.execute(update(t.blob_stray).values(at=func.clock_timestamp() - timedelta(days=2)))
    await sweep(town.shelf, town.begin)
    assert len(town.shelf.held) == 1
    assert (await town.client.get(ours(TEA))).status_code == 200


async def test_a_menu_brings_its_pictures(town):
    town.host.put("81001.png", TEA)
    till = await partner(town.engine, "petpooja", "PP-1")
    said = menu("PP-1", dish("81001", item_image_url=f"{town.url}/81001.png"), dish("81002", item_image_url=""))
    assert (await till.tell("webhooks/menu", said)).status_code == 200
    await town.work()
    li, p = t.listing.c, t.product.c
    found = select(*PRODUCT).join(t.listing, li.product_id == p.id).where(li.store_id == till.shop.store_id).order_by(p.name)
    products = [to_product(row) for row in await till.rows(found)]
    assert [list(one.pictures) for one in products] == [[ours(TEA)], []]
