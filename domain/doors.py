"""What was called: the path behind a provider's name, against the doors that provider has."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlencode


@dataclass(frozen=True)
class Found:
    door: str
    values: Mapping[str, str]  # of its `{names}`


class Doors:
    """A provider's. A path of plain words goes before one with `{names}`, and a slash at the end says nothing."""

    def __init__(self, doors: Mapping[str, str]) -> None:
        self._plain = {path.strip("/"): Found(door, {}) for path, door in doors.items() if "{" not in path}
        patterns = [(path.strip("/").split("/"), door) for path, door in doors.items() if "{" in path]
        self._patterns = sorted(patterns, key=lambda one: sum(map(_is_name, one[0])))

    def find(self, path: str) -> Found | None:
        """`path` as it came, percent-encoded: an encoded slash stays within its segment."""
        path = path.removesuffix("/")
        found = self._plain.get(path)
        if found is not None or not (self._patterns or "%" in path):
            return found
        said = [unquote(one) for one in path.split("/")]
        for pattern, door in self._patterns:
            if len(pattern) == len(said) and all(_fits(*pair) for pair in zip(pattern, said, strict=True)):
                return Found(door, {name[1:-1]: one for name, one in zip(pattern, said, strict=True) if _is_name(name)})
        return None if any("/" in one for one in said) else self._plain.get("/".join(said))


def _is_name(segment: str) -> bool:
    return segment.startswith("{")


def _fits(wanted: str, said: str) -> bool:
    return bool(said) if _is_name(wanted) else wanted == said


@lru_cache(maxsize=256)
def _made(doors: tuple[tuple[str, str], ...]) -> Doors:
    return Doors(dict(doors))


def doors_of(doors: Mapping[str, str]) -> Doors:
    return _made(tuple(doors.items()))


# ---------------------------------------------------------------- as it is kept

PATH, METHOD, URL = ":path", ":method", ":url"  # beside a payload's headers, whose names have no colon before them
KEPT_CHARACTERS = 8_000


def kept(path: str, query: Mapping[str, str], method: str, url: str) -> dict[str, str]:
    """For reading it again later; `query` and `url` as they may be shown."""
    asked = f"{path}?{urlencode(query)}" if query else path
    told = {PATH: asked[:KEPT_CHARACTERS]}
    if method != "POST":
        told[METHOD] = method
    if url:
        told[URL] = url[:KEPT_CHARACTERS]
    return told


@dataclass(frozen=True)
class Called:
    values: Mapping[str, str]
    query: Mapping[str, str]
    method: str
    url: str


def called(doors: Mapping[str, str], headers: Mapping[str, str]) -> Called:
    """What `kept` has kept."""
    path, _, query = headers.get(PATH, "").partition("?")
    found = doors_of(doors).find(path)
    return Called(
        found.values if found else {},
        dict(parse_qsl(query, keep_blank_values=True)),
        headers.get(METHOD, "POST"),
        headers.get(URL, ""),
    )
