"""Long JSON, read a value at a time: what has been looked at need not be kept."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

BLANKS = " \t\n\r"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


class Reader:
    """A place in a text. ValueError (or RecursionError, of what is too deep) for what is no JSON; the place is then lost."""

    _values = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant)

    def __init__(self, text: str, at: int = 0) -> None:
        self.text, self.at = text, at

    def next(self) -> str:
        """The next character that is no blank, "" at the end. It stays where it is."""
        text, at = self.text, self.at
        while at < len(text) and text[at] in BLANKS:
            at += 1
        self.at = at
        return text[at : at + 1]

    def take(self, wanted: str) -> None:
        found = self.next()
        if found != wanted:
            raise ValueError(f"{found or 'the end'} instead of {wanted} at character {self.at}")
        self.at += 1

    def value(self) -> Any:
        """The whole of the next value, with numbers as they were written."""
        self.next()
        told, self.at = self._values.raw_decode(self.text, self.at)
        return told

    def items(self) -> Iterator[Any]:
        """Those of the list that begins here, one by one. Each has to be read before the next is asked for."""
        self.take("[")
        if self.next() == "]":
            self.at += 1
            return
        while True:
            yield self.value()
            if self.next() == "]":
                self.at += 1
                return
            self.take(",")

    def names(self) -> Iterator[str]:
        """Those of the object that begins here. The value of each has to be read, by whoever asks, before the next."""
        self.take("{")
        if self.next() == "}":
            self.at += 1
            return
        while True:
            if self.next() != '"':
                raise ValueError(f"no name at character {self.at}")
            name = self.value()
            self.take(":")
            yield name
            if self.next() == "}":
                self.at += 1
                return
            self.take(",")
