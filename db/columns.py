"""The few kinds of column we have, so that a table below reads as a list of names."""

from enum import Enum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

KEY = sa.Uuid()
MINOR = sa.BigInteger()
TIME = sa.DateTime(timezone=True)
now = sa.func.clock_timestamp()


class Words(TypeDecorator[Any]):
    """An Enum kept as text by its value: a new member needs no ALTER TYPE."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, words: type[Enum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(self.words(value).value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Enum | None:
        return None if value is None else self.words(value)


class Document(TypeDecorator[Any]):
    """A frozen dataclass (or a collection of them) kept as JSONB, and read back as what it was."""

    impl = JSONB
    cache_ok = True

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else msgspec.to_builtins(value, str_keys=True)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else msgspec.convert(value, self.shape, strict=False)


def key(name: str = "id", *, primary: bool = False, of: str | None = None, null: bool = False, **more: Any) -> sa.Column[Any]:
    """A UUIDv7 made in Python. `of` names the table it points into."""
    points = [sa.ForeignKey(f"{of}.id")] if of else []
    return sa.Column(name, KEY, *points, primary_key=primary, nullable=null and not primary, **more)


def text(name: str, *, null: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=null, **more)


def word(name: str, words: type[Enum], *, null: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, Words(words), nullable=null, **more)


def count(name: str, default: int | None = 0, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=null, server_default=None if default is None else str(default))


def minor(name: str, default: int | None = None, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, MINOR, nullable=null, server_default=None if default is None else str(default))


def flag(name: str, default: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.true() if default else sa.false())


def time(name: str, *, null: bool = True) -> sa.Column[Any]:
    return sa.Column(name, TIME, nullable=null)


def created(name: str = "created_at") -> sa.Column[Any]:
    return sa.Column(name, TIME, nullable=False, server_default=now)


def version(first: int = 1) -> sa.Column[Any]:
    return count("version", first)


def document(name: str, shape: Any, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, Document(shape), nullable=null, server_default=default)


def currency() -> sa.Column[Any]:
    return sa.Column("currency", sa.CHAR(3), nullable=False, server_default="INR")


def not_negative(*names: str) -> list[sa.CheckConstraint]:
    return [sa.CheckConstraint(f"{name} >= 0", f"{name}_not_negative") for name in names]
