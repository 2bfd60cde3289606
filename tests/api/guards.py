"""Finds each guard of the API, and takes one away at a time: what the role matrix must feel."""

import ast
import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select, true

import db
from db import tables as t
from domain.identity import Role
from schema.roots import Allow
from tests.api.everybody import Everybody
from tests.api.matrix import ROOTS, TYPES

ROOT = Path(__file__).parents[2]
ROOMS = ("db", "domain", "resolvers", "schema", "subscriptions", "webhooks", "workers")

# What a guard in SQL says when it is gone. A module's `visible_to` is one of its own.
EVERYTHING: dict[str, Callable[[], Any]] = {
    "visible_to": true,
    "of_merchant": true,
    "stores_of": lambda: select(t.store.c.id),
    "merchants_of": lambda: select(t.merchant.c.id),
}


# ---------------------------------------------------------------- guards that are no SQL


def _as(caller: str, index: int) -> Callable[[Any, Everybody], Any]:
    """Gone, it answers everybody as it answers this caller, who is its argument of that index."""

    def without(original: Any, town: Everybody) -> Any:
        def swapped(*arguments: Any, **named: Any) -> Any:
            given = list(arguments)
            given[index] = town.callers[caller]
            return original(*given, **named)

        return swapped

    return without


def _in_context_of(caller: str) -> Callable[[Any, Everybody], Any]:
    def without(original: Any, town: Everybody) -> Any:
        return lambda context, *more: original(replace(context, actor=town.callers[caller]), *more)

    return without


def _says(answer: Callable[..., Any]) -> Callable[[Any, Everybody], Any]:
    return lambda original, town: answer


async def _nothing(*arguments: Any) -> None: ...


async def _yes(*arguments: Any) -> bool:
    return True


async def _its_purchase(context: Any, row: Any) -> Any:
    return await context.loaders.purchases.load(row.purchase_id)


CHECKS: dict[str, Callable[[Any, Everybody], Any]] = {
    "resolvers.orders.knows_customer": _says(lambda context, row: True),
    "resolvers.orders.handover_code": _says(lambda context, row: row.code),
    "resolvers.orders.client_secret": _says(lambda context, row: row.secret),
    "resolvers.orders.purchase_of": _says(_its_purchase),
    "resolvers.grants.signed_in": _says(_yes),
    "subscriptions.failures.failures": _in_context_of("support"),
    "db.delivery.to_delivery": _as("support", 1),
    "db.delivery.dropped": _as("rider", 1),
    "db.identity.memberships": _as("owner", 1),
    "db.identity.SqlIdentity.role_in": _as("owner", 2),
    "db.stores.may_serve": _says(_yes),
    "db.riders.standing": _as("rider", 1),
    "domain.delivery.lock": _as("support", 1),
    "domain.identity.check_merchant_role": _says(_nothing),
    "domain.addresses._customer": _says(lambda actor: actor.id),
}
"""What compares the actor, and how it is taken away."""


# ---------------------------------------------------------------- found in the source


def trees(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).glob("*.py")):
            yield f"{room}.{path.stem}", ast.parse(path.read_text())


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Those of the module and of its classes; what is inside of one is part of it."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _called(node: ast.AST) -> set[str]:
    return {one.func.id for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)}


def places() -> Iterator[str]:
    """Each function that asks a guard in SQL, as `db.orders.order_page asks visible_to`."""
    for module, tree in trees("db"):
        for name, node in functions(tree):
            for guard in sorted(_called(node) & EVERYTHING.keys()):
                yield f"{module}.{name} asks {guard}"


def _decides(node: ast.Compare) -> bool:
    """Not `actor.id is None`: that is for the type checker."""
    if any(isinstance(one, ast.Constant) and one.value is None for one in node.comparators):
        return False
    names = {ast.unparse(one) for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    return bool(names & {f"{actor}.{what}" for actor in ("actor", "context.actor") for what in ("kind", "id", "role")})


def comparers() -> Iterator[str]:
    """Each function that compares who the actor is with anything: it decides, so it must be felt."""
    for module, tree in trees("resolvers", "db", "subscriptions"):
        for name, node in functions(tree):
            if any(isinstance(one, ast.Compare) and _decides(one) for one in ast.walk(node)):
                yield f"{module}.{name}"


def allowing() -> Iterator[tuple[str, Allow]]:
    """What is for some roles alone."""
    for root in ROOTS:
        for name, one in TYPES[root].fields.items():
            for extension in one.extensions["strawberry-definition"].extensions:
                if isinstance(extension, Allow) and Role.PUBLIC not in extension.roles:
                    yield f"{root}.{name} allows", extension


def whole() -> Iterator[str]:
    """Guards in SQL, each taken away wherever it is asked."""
    for module, tree in trees("db"):
        yield from (f"{module}.{name}" for name, _ in functions(tree) if name in EVERYTHING)


GUARDS = [*(name for name, _ in allowing()), *whole(), *places(), *CHECKS]


# ---------------------------------------------------------------- taken away


@dataclass
class Switches:
    """Every guard goes on as ever but for those that are off; `asked` are those that were since it was emptied."""

    off: frozenset[str] = frozenset()
    asked: set[str] = field(default_factory=set)

    def is_off(self, *names: str) -> bool:
        self.asked.update(names)
        return not self.off.isdisjoint(names)

    @contextmanager
    def without(self, guards: Collection[str]) -> Iterator[None]:
        self.off = frozenset(guards)
        try:
            yield
        finally:
            self.off = frozenset()


def install(switches: Switches, town: Everybody, patch: Any) -> None:
    """`patch` is pytest's monkeypatch: what was put in is taken out by it."""
    for module in pkgutil.iter_modules(db.__path__, "db."):
        if not module.ispkg:
            _install_sql(switches, importlib.import_module(module.name), patch)
    for name, without in CHECKS.items():
        _install_check(switches, name, without, town, patch)
    for name, extension in allowing():
        patch.setattr(extension, "check", _allowing(switches, name, extension.check))


def _allowing(switches: Switches, name: str, check: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda context: None if switches.is_off(name) else check(context)


def _install_sql(switches: Switches, module: Any, patch: Any) -> None:
    for name, everything in EVERYTHING.items():
        original = getattr(module, name, None)
        if original is None or original.__module__ != module.__name__:
            continue

        def switched(*arguments: Any, _said=everything, _original=original, _name=name) -> Any:
            frame = sys._getframe(1)
            place = f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname.partition('.<locals>')[0]} asks {_name}"
            off = switches.is_off(f"{_original.__module__}.{_name}", place)
            return _said() if off else _original(*arguments)

        _everywhere(original, switched, patch)


def _install_check(switches: Switches, name: str, without: Any, town: Everybody, patch: Any) -> None:
    room, noun, *classes, last = name.split(".")
    owner: Any = importlib.import_module(f"{room}.{noun}")
    for one in classes:
        owner = getattr(owner, one)
    original = getattr(owner, last)
    gone = without(original, town)

    @functools.wraps(original)
    def switched(*arguments: Any, **named: Any) -> Any:
        return (gone if switches.is_off(name) else original)(*arguments, **named)

    if classes:
        patch.setattr(owner, last, switched)
    else:
        _everywhere(original, switched, patch)


def _everywhere(original: Any, switched: Any, patch: Any) -> None:
    """Under each name that a module has imported it by."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ROOMS:
            for attribute, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, attribute, switched)
