import pytest
import pytest_asyncio
from sqlalchemy import func, literal, literal_column, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db.reads import Reads
from db.words import beginnings, some_word, vector
from domain.refusals import InvalidInput, Refused


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


async def finds(reads: Reads, text: str, name: str) -> bool:
    query = beginnings(text, "text")
    if query is None:
        return False
    named = select(literal(name).label("name")).subquery()
    return bool(await reads.value(select(literal_column(vector("name")).op("@@")(query)).select_from(named)))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("garl oi", "Garlic Oil - Vegetarian Capsule 500 mg"),
        ("OIL garlic", "Garlic Oil - Vegetarian Capsule 500 mg"),
        ("500", "Garlic Oil - Vegetarian Capsule 500 mg"),
        ("kelloggs", "Kellogg's Corn Flakes"),
        ("kellogg’s corn", "Kellogg's Corn Flakes"),
        ("sugar-free", "Sugar Free Gold+"),
        ("free", "Chocos (sugar-free, 0.5 kg)"),
        ("0.5", "Chocos (sugar-free, 0.5 kg)"),
        ("oetker", "Dr.Oetker FunFoods"),
        ("b/c", "Shampoo a/b/c"),
        ("चाय", "चाय मसाला"),
        ("crème", "Crème fraîche"),
        ("50%", "Rusk 50% wheat"),
        ("www.example.com", "Gift card www.example.com/gift"),
        ("a&b", "A&B honey"),
        ("'; drop table product; --", "Drop Table Product"),
        (":* | !", "never :* | !x"),
    ],
)
async def test_every_word_is_found_by_its_beginning(reads: Reads, text: str, name: str) -> None:
    assert await finds(reads, text, name) == (text != ":* | !")


@pytest.mark.parametrize(("text", "name"), [("garl salt", "Garlic Oil"), ("arlic", "Garlic Oil"), ("!garlic", "Ginger Oil")])
async def test_a_word_that_is_not_there_finds_nothing(reads: Reads, text: str, name: str) -> None:
    assert not await finds(reads, text, name)


@pytest.mark.parametrize("text", ["", "   ", "---", "'", "\\", "?!*:&|()<>", "™ ®", "🍎"])
async def test_text_without_a_word_asks_nothing(text: str) -> None:
    assert beginnings(text, "text") is None


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 201])
async def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(Refused) as no:
        beginnings(text, "filter.text")
    assert isinstance(no.value.refusal, InvalidInput)
    assert no.value.refusal.problems[0].path == "filter.text"


async def test_no_text_breaks_the_query(reads: Reads) -> None:
    """Every character of the lower planes, between two words."""
    for start in range(1, 0x2FF, 64):
        text = " ".join(f"a{chr(code)}b" for code in range(start, start + 64) if not 0xD800 <= code < 0xE000)
        for part in range(0, len(text), 48):
            query = beginnings(text[part : part + 48], "text")
            assert query is not None
            await reads.value(select(func.numnode(query)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("garlic-oil", True),
        ("OIL of brass", True),
        ("lamp", False),
        ("'oil' & !| <-> :* \\' oil", True),
        ("\0oil\ud800", True),
        ("!!! 😀", False),
        ("", False),
        ("word " * 500 + "oil", False),  # only so many of them are looked for
    ],
)
async def test_some_word_of_whatever_stands_there_is_enough(reads: Reads, text: str, found: bool):
    query = func.to_tsquery(literal_column("'simple'"), some_word(text))
    named = select(literal("Garlic Oil 500 mg").label("name")).subquery()
    assert bool(await reads.value(select(literal_column(vector("name")).op("@@")(query)).select_from(named))) is found
