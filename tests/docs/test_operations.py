"""docs/operations.md says what the code says: settings, figures, fields of the log, roles, commands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from graphql import DocumentNode, build_schema, parse, validate

from adapters.figures import READINGS, PrometheusFigures
from cli import app
from demo.town import BUSINESSES, PEOPLE
from providers.catalogue_file import CatalogueFile
from schema.api import schema
from settings import ROOT, Settings, as_written
from tests.docs.pages import DOCS, tables
from tests.providers.calls import said
from wiring import WORKERS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
OURS = ("adapters", "db", "domain", "resolvers", "schema", "subscriptions", "webhooks", "workers", "launch", "terminal")


def code() -> Iterator[str]:
    for path in (*ROOT.glob("*.py"), *(path for room in OURS for path in (ROOT / room).rglob("*.py"))):
        yield path.read_text()


def named(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def test_every_setting_is_there_with_its_default():
    told = {named(row[0])[0]: (named(row[1]) or [None])[0] for row in tables("operations.md", "Settings")}
    assert told == {f"HAAT_{name.upper()}": default(name) for name in Settings.model_fields}


def default(name: str) -> str | None:
    value = Settings.model_fields[name].default
    if value in (None, ()):
        return None
    if isinstance(value, Path):
        return str(value.relative_to(ROOT))
    return as_written(Settings.model_construct(**{name: value}).model_dump(mode="json")[name])


def test_every_setting_sets_something():
    texts = [text for text in code() if "class Settings(" not in text]
    assert [name for name in Settings.model_fields if not any(re.search(rf"settings\.{name}\b", text) for text in texts)] == []


async def test_every_figure_is_there_with_its_labels():
    figures = PrometheusFigures()
    figures.operation("stores", "OK", 0.1)
    figures.cached("hit")
    figures.webhook("wms", "ACCEPTED")
    figures.alerts("sent", 1)
    text = (await figures.text()).decode()
    ours = dict.fromkeys((line.split()[2] for line in text.splitlines() if line.startswith("# HELP haat_")), frozenset[str]())
    for name, labels in re.findall(r"^(haat_\w+)\{(.*)\}", text, re.MULTILINE):
        figure = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        ours[figure] |= {label for label in re.findall(r'(\w+)="', labels) if label != "le"}
    ours |= {f"haat_{name}": frozenset(labels) for name, (_, labels) in READINGS.items()}
    ours = {name: labels for name, labels in ours.items() if not name.endswith("_created")}
    told = {named(row[0])[0]: frozenset(named(row[1])) for row in tables("operations.md", "Figures")}
    assert told == ours


def test_every_field_of_the_log_is_there():
    written = {key for text in code() for extra in re.findall(r"extra=(\{[^}]*\})", text) for key in re.findall(r'"(\w+)":', extra)}
    told = {name for row in tables("operations.md", "Logs") for name in named(row[0])}
    assert told == written | {"at", "level", "logger", "event", "correlation_id", "cause", "exception", "left_out"}


def test_every_loop_is_there():
    loops = [row for row in tables("operations.md", "Roles") if named(row[0])[0] in WORKERS]
    assert [named(row[0])[0] for row in loops] == list(WORKERS)


def commands(one: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(one, "commands", None)
    if inner is None:
        yield path, one
        return
    for name, command in inner.items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_is_there():
    told = {tuple(one.split()[1:]) for row in tables("operations.md", "Commands") for one in named(row[0])}
    assert told == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_tells_to_type_can_be_typed(page: Path):
    """Commands there are, with options they have."""
    for line in page.read_text().splitlines():
        for typed in re.findall(r"\./haat ([^`#|…(]+)", line):
            words = typed.split()
            path = next((tuple(words[:length]) for length in (2, 1) if tuple(words[:length]) in COMMANDS), None)
            assert path is not None or words[0].isupper(), f"{page.name}: ./haat {typed}"
            options = {option for one in COMMANDS[path].params for option in one.opts} | {"--help", "--"} if path else {"--help"}
            assert {word.rstrip(",.;:") for word in words if word.startswith("--")} <= options, f"{page.name}: ./haat {typed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path):
    for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text()):
        to = (page.parent / target) if target else page
        assert to.exists(), f"{page.name} → {target}"
        if anchor:
            headings = [line.lstrip("# ").lower().replace(" ", "-") for line in to.read_text().splitlines() if line.startswith("#")]
            assert anchor in [re.sub(r"[^\w-]", "", one) for one in headings], f"{page.name} → #{anchor}"


def test_the_readmes_example_can_be_imported():
    """The file is there, its rows are good, and the store is one of the town's."""
    [(file, store)] = re.findall(r"\./haat import (\S+) --store (\S+)", (ROOT / "README.md").read_text())
    batch = said(CatalogueFile(), "import", (ROOT / file).read_bytes(), store, store=store)
    assert batch.commands
    assert not batch.problems
    assert store in [shop.slug for business in BUSINESSES for shop in business.shops]
    assert all(phone in [one.phone for one in PEOPLE] for phone in re.findall(r"\+91\d+", (ROOT / "README.md").read_text()))


def test_the_readmes_queries_are_valid():
    [text] = re.findall(r"```graphql\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    ours = build_schema(str(schema))
    for operation in parse(text).definitions:
        assert validate(ours, DocumentNode(definitions=(operation,))) == []
