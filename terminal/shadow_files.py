"""What a payload is read by in another way: a profile from a file of JSON, an adapter from a Python file."""

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import cast

from domain.intake import Inbound
from domain.profile_checking import parsed
from launch.problem import Problem

FACTS = ("provider", "family", "proof", "doors", "endpoints", "questions")
WORDS = ("verify", "event_id", "translate", "acknowledge", "refuse", "answer")


def profile_of(path: Path) -> str:
    """Its text, as a source keeps it. Refuses InvalidInput with all that is wrong with it."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path} cannot be read", "name a file of JSON") from error
    parsed(text)
    return text


def adapter_of(path: Path, provider: str) -> Inbound:
    """The file's own class that has all that an Inbound has; of several that of the provider."""
    module = _module(path)
    own = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    fit = [one for one in own if not _missing(one, WORDS)]
    named = [one for one in fit if getattr(one, "provider", None) == provider]
    if not fit:
        near = min(own, key=lambda one: len(_missing(one, WORDS)), default=None)
        raise _no_adapter(path, f"{near.__name__} has no {', '.join(_missing(near, WORDS))}" if near else "it has no class")
    if len(fit) > 1 and len(named) != 1:
        raise Problem(f"{path} has {len(fit)} adapters, and not one for {provider}", "leave one of them in it")
    chosen = fit[0] if len(fit) == 1 else named[0]
    try:
        made = chosen()
    except (Exception, SystemExit) as error:
        raise Problem(f"{chosen.__name__} of {path} cannot be made: {_told(error)}", "it is made without arguments") from error
    if lacking := _missing(made, FACTS):
        raise _no_adapter(path, f"{chosen.__name__} has no {', '.join(lacking)}")
    return cast(Inbound, made)


def _missing(one: object, names: Sequence[str]) -> list[str]:
    return [name for name in names if not hasattr(one, name)]


def _no_adapter(path: Path, why: str) -> Problem:
    return Problem(f"{path} has no adapter: {why}", "see the Inbound of domain/intake.py, and the files in providers/")


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise Problem(f"there is no file {path}", "name a Python file with an adapter in it")
    name = f"adapter_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Problem(f"{path} is no Python file", "its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look for it there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise Problem(f"{path} cannot be loaded: {_told(error)}", "it is Python, and is run as it stands") from error
    return module


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
