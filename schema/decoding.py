"""JSON from outside, read strictly: what the database could not keep, or Python not bear, is refused here."""

import json
import math
from typing import Any

NESTED_MOST = 32
DIGITS_MOST = 32


class NotReadable(ValueError):
    """Its text may be shown: it never holds what was sent."""


def read_object(sent: bytes | str) -> dict[str, Any]:
    """One JSON object. Refuses, as NotReadable: another encoding than UTF-8, NaN and the like, numbers of many digits,
    deep nesting, NUL and halves of surrogate pairs.
    """
    try:
        text = sent if isinstance(sent, str) else sent.decode()
        told = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise NotReadable("not UTF-8") from None
    except NotReadable:
        raise
    except (ValueError, RecursionError):
        raise NotReadable("not JSON") from None
    if not isinstance(told, dict):
        raise NotReadable("not a JSON object")
    # A raw NUL or half pair is no JSON, or no UTF-8: only an escape can hide one.
    if "\\u" in text or text.count("[") + text.count("{") > NESTED_MOST or (isinstance(sent, str) and not text.isascii()):
        _check(told)
    return told


def _check(told: object) -> None:
    level: list[object] = [told]
    for _ in range(NESTED_MOST + 1):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                _check_text(value)
        if not below:
            return
        level = below
    raise NotReadable(f"nested deeper than {NESTED_MOST}")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotReadable("text with a NUL in it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotReadable("half of a surrogate pair") from None


def _whole(digits: str) -> int:
    if len(digits) > DIGITS_MOST:
        raise NotReadable("a number of too many digits")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotReadable("a number out of range")
    return number


def _constant(name: str) -> None:
    raise NotReadable(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_fraction, parse_constant=_constant)
