"""Finding text by the beginnings of its words."""

import re
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column
from sqlalchemy.dialects.postgresql import TSQUERY

from domain.refusals import invalid

# An apostrophe is dropped, so that kelloggs finds Kellogg's; what else is no letter and no digit parts words.
DROPPED = "'’`"
PARTING = '!"#$%&()*+,-./:;<=>?@[\\]^_{|}~–—·•…“”«»®™©'
_PARTS = str.maketrans(dict.fromkeys(PARTING, " ") | dict.fromkeys(DROPPED, ""))
TEXT_LIMIT = 200
WORDS_LIMIT = 12


def vector(sql: str) -> str:
    """SQL of the search vector of an SQL text, for a generated column: the same words as `beginnings` looks for."""
    parting = PARTING.replace("%", "")  # which parts words there anyway, and which drivers want doubled
    quoted = (parting + DROPPED).replace("'", "''")
    return f"to_tsvector('simple', translate({sql}, '{quoted}', '{' ' * len(parting)}'))"


def weighted(*texts: tuple[str, str]) -> str:
    """The vector of several SQL texts, each with its weight for the rank, A to D."""
    return " || ".join(f"setweight({vector(sql)}, '{weight}')" for sql, weight in texts)


def asked(text: str, path: str) -> str:
    """Text that may be looked for. Refuses InvalidInput for what is too long, or PostgreSQL cannot keep."""
    if len(text) > TEXT_LIMIT:
        raise invalid(path, f"must have at most {TEXT_LIMIT} characters")
    if re.search("[\0\ud800-\udfff]", text):
        raise invalid(path, "has characters that are no text")
    return text


def beginnings(text: str, path: str) -> ColumnElement[Any] | None:
    """A query for all of the words, each by its beginning: `garl oi` finds garlic oil. None when there is no word in it.

    Refuses InvalidInput for what is too long, or is no text.
    """
    words = asked(text, path).translate(_PARTS).split()
    if not any(character.isalnum() for word in words for character in word):
        return None
    # No quote and no backslash is left in a word, so none can leave its quotes.
    return func.to_tsquery(literal_column("'simple'"), " & ".join(f"'{word}':*" for word in words[:WORDS_LIMIT]), type_=TSQUERY)


def some_word(text: str) -> str:
    """SQL's text of a query for any of the words, each by its beginning, for `to_tsquery('simple', …)`. "" where there is none."""
    said = re.sub("[\0\ud800-\udfff]", " ", text[:TEXT_LIMIT]).translate(_PARTS).split()
    words = [word for word in dict.fromkeys(said) if any(character.isalnum() for character in word)]
    return " | ".join(f"'{word}':*" for word in words[:WORDS_LIMIT])
