"""The table of commands. What each does is in terminal/."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from launch.problem import Problem

app = typer.Typer(
    name="haat",
    help="Haat: a real-time backend for local marketplaces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Where it keeps what it holds.", show_default=".haat")] = None,
    port: Annotated[int | None, typer.Option(help="The port, or the next free one.", show_default="8000")] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Without the demo town.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Throw away what it holds and begin again.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Start the servers anew when the code changes.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Server processes on the one port.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON on standard output when ready.")] = False,
) -> None:
    """Start everything on this machine and keep it running."""
    from terminal.prepare import prepare
    from terminal.up import Asked
    from terminal.up import up as start

    start(Asked(data, port, empty, reset, reload, workers, json), prepare)


@app.command()
def serve(
    only: Annotated[str | None, typer.Option(help="Serve this role alone: intake.")] = None,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    with_work: Annotated[bool, typer.Option("--with-work", hidden=True)] = False,
) -> None:
    """Run one server process."""
    from terminal.serve import run_server

    run_server(only, fd, with_work)


@app.command()
def work(only: Annotated[str | None, typer.Option(help="These loops alone: relay,instructions,…")] = None) -> None:
    """Run the workers' loops."""
    from terminal.serve import run_workers

    run_workers(only)


@app.command()
def migrate(down: Annotated[str | None, typer.Option(help="Back to this revision; `base` is none.")] = None) -> None:
    """Bring the database's schema to its head."""
    from launch.load import load
    from terminal.migrate import migrate as run

    run(load(), down)


@app.command()
def seed(chain: Annotated[bool, typer.Option("--chain", help="A chain of 134 stores in 32 cities instead.")] = False) -> None:
    """Fill the database with the demo town. What is there stays as it is."""
    from launch.load import load
    from terminal.seed import seed as run

    run(load(), chain)


user_app = typer.Typer(help="People who sign in.", no_args_is_help=True, rich_markup_mode=None)
merchant_app = typer.Typer(help="Businesses and their stores.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(user_app, name="user")
app.add_typer(merchant_app, name="merchant")


@user_app.command("add")
def add_user(
    name: Annotated[str, typer.Option(help="As others see it.")],
    phone: Annotated[str, typer.Option(help="The login: +919876543210.")],
    email: Annotated[str | None, typer.Option(help="Another login.")] = None,
    password: Annotated[
        str | None, typer.Option(help="Or `-`: read from standard input. Without one they sign in with a code.")
    ] = None,
    to: Annotated[str, typer.Option("--app", help="customer, merchant, rider or support.")] = "customer",
    merchant: Annotated[str | None, typer.Option(help="The slug of the merchant they work for.")] = None,
    role: Annotated[str | None, typer.Option(help="There: owner, manager or clerk.", show_default="owner")] = None,
    store: Annotated[list[str] | None, typer.Option(help="The slug of a clerk's store; once for each.")] = None,
) -> None:
    """Add a person, or grant more to one who is there."""
    from terminal.accounts import NewUser
    from terminal.accounts import add_user as run
    from terminal.desk import at_desk

    asked = NewUser(name, phone, email, password, "merchant" if merchant else to, merchant, role, store or ())
    at_desk(lambda desk: run(asked, desk))


@user_app.command("ban")
def ban_user(
    login: Annotated[str, typer.Argument(help="Their telephone number or e-mail address.")],
    reason: Annotated[str, typer.Option(help="Why: kept in the audit.")],
) -> None:
    """Let a person in no more."""
    from terminal.accounts import ban_user as run
    from terminal.desk import at_desk

    at_desk(lambda desk: run(login, reason, desk))


@merchant_app.command("add")
def add_merchant(
    name: Annotated[str, typer.Option(help="The business.")],
    store: Annotated[str, typer.Option(help="A place it sells from.")],
    city: Annotated[str, typer.Option()],
    lat: Annotated[float, typer.Option(help="Degrees, WGS 84.")],
    lng: Annotated[float, typer.Option(help="Degrees, WGS 84.")],
    owner: Annotated[str | None, typer.Option(help="The phone of who runs it.")] = None,
    hours: Annotated[str | None, typer.Option(help="Every day, as 07:00-23:00.", show_default="all day")] = None,
) -> None:
    """Add a business with a store, or one more store of it."""
    from terminal.accounts import NewMerchant
    from terminal.accounts import add_merchant as run
    from terminal.desk import at_desk

    at_desk(lambda desk: run(NewMerchant(name, store, city, lat, lng, owner, hours), desk))


@app.command()
def token(
    login: Annotated[str, typer.Argument(help="A phone or an e-mail address.")],
    to: Annotated[str, typer.Option("--app", help="customer, merchant, rider or support.")] = "customer",
) -> None:
    """Print an access token of ten minutes, for trying things out. Not in production."""
    from terminal.accounts import print_token
    from terminal.desk import at_desk

    at_desk(lambda desk: print_token(login, to, desk))


@app.command("import")
def bring_in(
    file: Annotated[Path, typer.Argument(help="A CSV file whose first row names the columns, or one of JSON.")],
    store: Annotated[str, typer.Option(help="The slug of the store that sells it.")],
    stock: Annotated[int | None, typer.Option(min=0, help="Units of each; without it they are not counted.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")] = False,
) -> None:
    """Bring in a catalogue. Good rows go in, bad ones are told; ends with 3 where there were bad ones."""
    from terminal.desk import at_desk
    from terminal.imports import Asked
    from terminal.imports import bring_in as run

    if not at_desk(lambda desk: run(Asked(file, store, stock, json), desk)):
        raise typer.Exit(3)


@app.command()
def tail(
    feed: Annotated[str, typer.Argument(help="A subscription: stock, storeStatus, storeOrders, order, riderOffers, …")],
    argument: Annotated[list[str] | None, typer.Argument(help="storeId=SLUG-OR-ID, id=…; of a list each after a comma.")] = None,
    login: Annotated[str | None, typer.Option("--as", help="Whose eyes: a phone or an e-mail address.")] = None,
    to: Annotated[
        str | None, typer.Option("--app", help="customer, merchant, rider or support.", show_default="the feed's")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One frame a line on standard output.")] = False,
) -> None:
    """Watch a feed of the running town, over cuts and restarts."""
    from terminal.tail import Asked
    from terminal.tail import tail as run

    run(Asked(feed, argument or (), login, to, json))


@app.command()
def webhook(
    source: Annotated[str, typer.Argument(help="A source's id, or a provider that has one source: petpooja, wms.")],
    event: Annotated[str | None, typer.Argument(help="petpooja: menu, stock, store-status; wms: stock.snapshot, …")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="sku=TEA-250, or a path: data.lines.0.available=4.")] = None,
    store: Annotated[str | None, typer.Option(help="Its slug, or the provider's own id of it.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Send the same so many times.")] = 1,
    bad_signature: Annotated[bool, typer.Option("--bad-signature", help="As one who does not know the secret.")] = False,
    secret: Annotated[str | None, typer.Option(help="Where only its hash is kept.")] = None,
) -> None:
    """Sign the sample of a provider's event and send it through the real door."""
    from terminal.desk import at_desk
    from terminal.webhook import Asked, prepare, send

    asked = Asked(source, event, change or (), store, bad_signature, secret)
    statuses = send(at_desk(lambda desk: prepare(asked, desk)), repeat)
    if not all(400 <= status < 500 if bad_signature else 200 <= status < 300 for status in statuses):
        raise typer.Exit(1)


@app.command()
def replay(
    failures: Annotated[list[str] | None, typer.Argument(help="Their ids.")] = None,
    provider: Annotated[str | None, typer.Option(help="All open ones of this provider.")] = None,
    kind: Annotated[str | None, typer.Option(help="All open ones of this kind: mapping, validation, processing, …")] = None,
    store: Annotated[str | None, typer.Option(help="About the store of this slug.")] = None,
    text: Annotated[str | None, typer.Option(help="With these words in the message.")] = None,
    since: Annotated[str | None, typer.Option(help="Since a time, or 90m, 2h, 1d ago.")] = None,
    group: Annotated[str | None, typer.Option(help="With this fingerprint.")] = None,
) -> None:
    """Try again what the intake could not do. The worker does it; the audit tells of it. Ctrl-C cancels the rest."""
    from terminal.desk import at_desk
    from terminal.replay import Asked
    from terminal.replay import replay as run

    if not at_desk(lambda desk: run(Asked(failures or (), provider, kind, store, text, since, group), desk)):
        raise typer.Exit(1)


@app.command("map")
def map_ids(
    source: Annotated[str, typer.Option(help="Its id.")],
    file: Annotated[Path | None, typer.Argument(help="A CSV file with the columns kind, external_id and ours.")] = None,
    export: Annotated[
        bool, typer.Option("--export", help="Write what is not mapped, with the likeliest of ours, instead.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")] = False,
) -> None:
    """Say by a file which ids of a source are which of ours. Bad rows are told; ends with 3 where there were bad ones."""
    from terminal.desk import at_desk
    from terminal.mapping import Asked
    from terminal.mapping import map_ids as run

    if not at_desk(lambda desk: run(Asked(file, source, export, json), desk)):
        raise typer.Exit(3)


@app.command()
def shadow(
    source: Annotated[str, typer.Argument(help="Its id.")],
    profile: Annotated[Path | None, typer.Option(help="A file of JSON: the changed profile.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="Or a Python file: a class that reads what the provider sends.")] = None,
    last: Annotated[int, typer.Option(min=1, max=1000, help="So many of its latest payloads.")] = 50,
) -> None:
    """What a source's latest payloads would say by another profile, or another adapter. Nothing is written."""
    from terminal.desk import at_desk
    from terminal.shadow import Asked
    from terminal.shadow import shadow as run

    at_desk(lambda desk: run(Asked(source, profile, last, adapter), desk))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    long: Annotated[bool, typer.Option("--long", help="The long profiles too.")] = False,
    database: Annotated[str | None, typer.Option(help="Run against this server, as one who may create databases.")] = None,
) -> None:
    """Run everything CI runs. Other arguments go to pytest."""
    from terminal.checks import run_gates

    raise typer.Exit(run_gates(long, database, context.args))


@app.command()
def simulate(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long it plays.")] = 2,
    riders: Annotated[int, typer.Option(min=0, max=25)] = 10,
    orders_per_minute: Annotated[int, typer.Option(min=1, max=600)] = 30,
    pos: Annotated[
        int, typer.Option(min=0, max=50, help="Systems that call: the town's two, then one of each provider; 17 are all.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="The same seed is the same plan.")] = 7,
    faults: Annotated[
        bool, typer.Option("--faults", help="With repeats, old news, forgeries, slow readers, the end of Redis.")
    ] = False,
    break_: Annotated[
        str | None, typer.Option("--break", help="Plant a fault the checks must find: stock, payload or order.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Of the town that runs there.", show_default=".haat")] = None,
    town: Annotated[str | None, typer.Option(help="Instead: a file with the ready line of `up --json`, or -.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One summary object on standard output.")] = False,
) -> None:
    """Play a town through its public doors, and check that nothing broke."""
    from simulate.plan import Wish
    from terminal.simulate import Asked
    from terminal.simulate import simulate as play

    if not play(Asked(Wish(minutes, riders, orders_per_minute, pos, seed, faults), data, town, break_, json)):
        raise typer.Exit(1)


@app.command()
def bench(
    rows: Annotated[list[str] | None, typer.Argument(help="These rows alone: page, intake, orders, fan-out, memory, …")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of each of the three rounds of a figure.")] = 3,
    sockets: Annotated[int, typer.Option(min=1, help="That one event goes to.")] = 5_000,
    json: Annotated[bool, typer.Option("--json", help="One object on standard output.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail where a ratio is far from what it should be.")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Beside Mercurius and Vendure too; npm installs them once.")] = False,
) -> None:
    """Measure how fast it is, beside raw lines on the same machine. With servers of its own."""
    from terminal.bench import Asked
    from terminal.bench import bench as run

    if not run(Asked(rows or (), seconds, sockets, json, check, peers)):
        raise typer.Exit(1)


@app.command()
def doctor(
    settings: Annotated[bool, typer.Option("--settings", help="Show every setting, secrets masked.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="Whether every chain of the audit is whole, instead.")] = False,
) -> None:
    """Look at what the town stands on, and say what to do."""
    if audit:
        from terminal.audit import check_audit
        from terminal.desk import at_desk

        fine = at_desk(check_audit)
    else:
        from terminal.doctor import doctor as examine

        fine = examine(settings)
    if not fine:
        raise typer.Exit(1)


@app.command()
def schema(events: Annotated[bool, typer.Option("--events", help="Of the events, by topic, instead.")] = False) -> None:
    """Print the GraphQL schema, or the JSON schemas of the events."""
    from terminal.schema import print_event_schemas, print_schema

    if events:
        print_event_schemas()
    else:
        print_schema()


def main() -> None:
    try:
        app(prog_name="haat")
    except Problem as problem:
        sys.stderr.write(f"haat: {problem}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
