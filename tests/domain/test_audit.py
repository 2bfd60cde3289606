"""A chain is whole, or is told where it is not."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from domain.audit import NOBODYS, AuditEntry, Break, Head, Link, Walk, sealed

AT = datetime(2026, 11, 21, 10, 0, 0, 5, tzinfo=UTC)
MERCHANT = UUID(int=7)


def entry(seq: int, **told: object) -> AuditEntry:
    return replace(
        AuditEntry(UUID(int=seq), AT + timedelta(seconds=seq), "support:1", "set price", UUID(int=9), f"step {seq}"), **told
    )


def chain(length: int) -> list[Link]:
    links: list[Link] = []
    for seq in range(1, length + 1):
        before = links[-1].hash if links else b""
        links.append(Link(seq, entry(seq), MERCHANT, sealed(before, seq, entry(seq), MERCHANT)))
    return links


def head(links: Sequence[Link]) -> Head:
    return Head(MERCHANT, links[-1].seq, links[-1].hash)


def walked(links: Sequence[Link], end: Head | None) -> list[Break]:
    walk = Walk(MERCHANT)
    return [*(found for link in links for found in walk.step(link)), *walk.end(end)]


def places(links: Sequence[Link], end: Head | None) -> list[int]:
    return [found.seq for found in walked(links, end)]


def test_what_nobody_has_touched_is_whole():
    links = chain(5)
    assert walked(links, head(links)) == []
    assert walked([], Head(MERCHANT)) == []


def test_the_seal_is_what_the_page_says():
    """By hand, as whoever checks it without us would."""
    told = (
        b'["",1,"00000000-0000-0000-0000-000000000001","2026-11-21T10:00:01.000005+00:00","support:1","set price",'
        b'"00000000-0000-0000-0000-000000000009",null,"step 1"]'
    )
    assert sealed(b"", 1, entry(1), None) == hashlib.sha256(told).digest()
    elsewhere = replace(entry(1), at=entry(1).at.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert sealed(b"", 1, elsewhere, None) == sealed(b"", 1, entry(1), None)
    assert sealed(b"", 1, entry(1), None) != sealed(b"", 1, entry(1), NOBODYS)


@pytest.mark.parametrize(
    "told",
    [
        {"id": UUID(int=99)},
        {"at": AT},
        {"actor": "support:2"},
        {"action": "set prices"},
        {"subject": UUID(int=10)},
        {"detail": "step 3 "},
    ],
    ids=lambda told: next(iter(told)),
)
def test_a_word_that_was_changed_is_told_at_its_place(told: dict[str, object]):
    links = chain(5)
    links[2] = replace(links[2], entry=entry(3, **told))
    assert places(links, head(links)) == [3]


def test_one_that_was_changed_and_sealed_again_is_told_by_the_next():
    links = chain(5)
    forged = entry(3, detail="nothing happened")
    links[2] = Link(3, forged, MERCHANT, sealed(links[1].hash, 3, forged, MERCHANT))
    assert places(links, head(links)) == [4]


def test_the_last_one_sealed_again_is_told_by_the_head():
    links = chain(5)
    forged = entry(5, detail="nothing happened")
    last = Link(5, forged, MERCHANT, sealed(links[3].hash, 5, forged, MERCHANT))
    assert places([*links[:4], last], head(links)) == [5]


@pytest.mark.parametrize(("gone", "place"), [(slice(0, 1), 1), (slice(1, 3), 2), (slice(4, 5), 5), (slice(0, 5), 1)])
def test_what_is_gone_is_told(gone: slice, place: int):
    links = chain(5)
    end = head(links)
    del links[gone]
    assert places(links, end) == [place]


def test_two_that_changed_places_are_told():
    links = chain(6)
    swapped = [*links[:1], replace(links[3], seq=2), links[2], replace(links[1], seq=4), *links[4:]]
    assert {2, 4} <= set(places(swapped, head(links)))


def test_what_stands_where_nothing_has_its_place_is_told():
    links = chain(3)
    assert places([replace(links[0], seq=0), *links], head(links)) == [0]
    beyond = Link(4, entry(4), MERCHANT, sealed(links[2].hash, 4, entry(4), MERCHANT))
    assert places([*links, beyond], head(links)) == [4]
    assert places(links, None) == [3]


def test_an_end_cut_off_with_its_head_cannot_be_known():
    links = chain(5)
    assert walked(links[:3], head(links[:3])) == []
