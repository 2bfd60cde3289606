"""The demo town, and the chain: seeded through the domain, as everything else is."""

from collections.abc import Awaitable, Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from db import identity as accounts
from demo.chain import chain
from demo.seed import Seeding, seed_business, seed_town
from demo.town import BUSINESSES, PASSWORD, PEOPLE
from launch.problem import Problem
from settings import Env, Settings
from terminal.desk import Desk, at_desk
from terminal.said import console, say
from terminal.sources import new_demo_secret


def seed(settings: Settings, whole_chain: bool) -> None:
    """The town, or the chain beside it. What is there stays as it is."""
    refuse_in_production(settings)
    if not whole_chain:
        new, shops = at_desk(seed_the_town, settings), SHOPS
        say(f"the town is there: {shops} stores, {new} new listings; every demo password is {PASSWORD}")
        return
    business, _ = chain()
    new = at_desk(seed_the_chain, settings)
    say(f"{business.name} is there: {len(business.shops)} stores, {new} new listings")


def refuse_in_production(settings: Settings) -> None:
    if settings.env is Env.PRODUCTION:
        raise Problem("demo accounts have no place in production", "add real ones with ./haat user add and ./haat merchant add")


def check_nobody_is_demo(settings: Settings) -> None:
    """In production the password that everybody knows opens nothing."""
    if settings.env is Env.PRODUCTION:
        at_desk(_find_demo_accounts, settings)


async def _find_demo_accounts(desk: Desk) -> None:
    for person in PEOPLE:
        if await accounts.login(desk.reads, person.phone, None) is not None:
            raise Problem("this database has the demo's accounts", "begin with one of your own: their password is public")


SHOPS = sum(len(business.shops) for business in BUSINESSES)
Told = Callable[[str, int], None]
"""After each shop: its name, and how many of its listings are new."""


async def with_progress(title: str, total: int, work: Callable[[Told], Awaitable[None]]) -> int:
    """A bar where a person looks on. Returns how many listings are new."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    new = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(title, total=total)

        def told(name: str, listings: int) -> None:
            nonlocal new
            new += listings
            progress.update(bar, advance=1, description=name)

        await work(told)
    return new


async def seed_the_town(desk: Desk) -> int:
    """Returns how many listings are new."""
    refuse_in_production(desk.settings)

    async def work(told: Told) -> None:
        await seed_town(await seeding(desk, told))

    return await with_progress("the town", SHOPS, work)


async def seed_the_chain(desk: Desk) -> int:
    """Returns how many listings are new."""
    refuse_in_production(desk.settings)
    business, cities = chain()

    async def work(told: Told) -> None:
        await seed_business(business, cities, await seeding(desk, told))

    return await with_progress(business.name, len(business.shops), work)


async def seeding(desk: Desk, told: Told) -> Seeding:
    """One hash for all accounts: they have one password, and a hash is slow on purpose."""
    return Seeding(desk.begin, await desk.trust.passwords.hash(PASSWORD), lambda one: new_demo_secret(one, desk.trust), told)
