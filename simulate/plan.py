"""What will happen in the town, decided before it begins: the same wish, the same plan.

Pure: a plan knows no store and no id. It picks with numbers from 0 to 1, which the actors apply to what they find there.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from random import Random

from tests.simulators.calls import Flaw, Word

GAP_S = 3.0  # between two calls of one till, on average
LEAST_NEWS = 8  # of each newcomer
CUSTOMERS = range(2, 11)  # who signs up from one address is let in ten times a minute


class Provider(Enum):
    PETPOOJA = "petpooja"
    WMS = "wms"
    URBANPIPER = "urbanpiper"
    UNICOMMERCE = "unicommerce"
    SQUARE = "square"
    SHOPIFY = "shopify"
    TILL = "till"
    CATALOGUE_FILE = "catalogue_file"
    VINCULUM = "vinculum"
    POSIST = "posist"
    DOTPE = "dotpe"
    OMUNI = "omuni"
    GENERIC = "generic"
    GENERIC_POS = "generic_pos"
    GENERIC_SELLER = "generic_seller"


OF_THE_TOWN = (Provider.PETPOOJA, Provider.WMS)  # who speak of what customers order
NEWCOMERS = tuple(Provider)  # who are connected as it begins, and speak of goods of their own


@dataclass(frozen=True)
class Wish:
    minutes: float = 2
    riders: int = 10
    orders_per_minute: int = 30
    pos: int = 3
    seed: int = 7
    faults: bool = False

    @property
    def seconds(self) -> float:
        return self.minutes * 60

    @property
    def of_the_town(self) -> int:
        """The first two, and whoever is beyond one of each of the newcomers."""
        return self.pos - len(self.newcomers)

    @property
    def newcomers(self) -> Sequence[Provider]:
        return NEWCOMERS[: max(self.pos - len(OF_THE_TOWN), 0)]

    @property
    def orders(self) -> int:
        return round(self.orders_per_minute * self.minutes)


class Fate(Enum):
    """What is to become of an order. The town may have it otherwise: who cancels may come too late."""

    DELIVERED = "DELIVERED"
    COLLECTED = "COLLECTED"  # by the customer, in the store
    CANCELLED = "CANCELLED"  # by the customer, at once
    REJECTED = "REJECTED"  # by the store
    RETRIED = "RETRIED"  # nobody at home; delivered at the second attempt
    LOST = "LOST"  # on the way
    DECLINED = "DECLINED"  # by the card


@dataclass(frozen=True)
class Pick:
    listing: float
    quantity: int
    choice: float


@dataclass(frozen=True)
class Buy:
    at_s: float
    customer: int
    store: float
    picks: Sequence[Pick]
    fate: Fate
    by_card: bool
    twice: bool  # the phone sends the order again before it has an answer
    accept_after_s: float
    ready_after_s: float


@dataclass(frozen=True)
class Say:
    at_s: float
    speaker: int
    provider: Provider
    word: Word
    thing: float
    units: int
    flaw: Flaw | None


@dataclass(frozen=True)
class Tell:
    """One of the newcomers says what is next in its own list, or what is next in its list of flaws."""

    at_s: float
    provider: Provider
    number: int
    thing: float
    units: int
    flawed: bool


@dataclass(frozen=True)
class Dawdle:
    """A socket that stops reading."""

    at_s: float
    for_s: float
    store: float


@dataclass(frozen=True)
class KillRedis:
    at_s: float


Intent = Buy | Say | Tell | Dawdle | KillRedis


@dataclass(frozen=True)
class Plan:
    wish: Wish
    customers: int
    paces_s: Sequence[float]  # of each rider, from one step of a trip to the next
    intents: Sequence[Intent]  # in order

    @property
    def hash(self) -> str:
        told = [
            {
                "wish": asdict(self.wish) | {"minutes": float(self.wish.minutes)},
                "customers": self.customers,
                "paces_s": self.paces_s,
            },
            *({type(intent).__name__: asdict(intent)} for intent in self.intents),
        ]
        return hashlib.sha256(json.dumps(told, default=lambda word: word.value).encode()).hexdigest()[:16]


def plan(wish: Wish) -> Plan:
    customers = min(max(wish.orders_per_minute // 3, CUSTOMERS.start), CUSTOMERS.stop - 1, max(wish.orders, 1))
    # Each part has its own dice: another number of tills leaves the orders as they were.
    dice = {part: Random(f"{wish.seed} {part}") for part in ("buys", "calls", "news", "riders", "faults")}
    intents: list[Intent] = [
        *_buys(wish, customers, dice["buys"]),
        *_calls(wish, dice["calls"]),
        *_news(wish, dice["news"]),
        *(_faults(wish, dice["faults"]) if wish.faults else ()),
    ]
    paces = tuple(round(dice["riders"].uniform(0.15, 0.7), 3) for _ in range(wish.riders))
    return Plan(wish, customers, paces, tuple(sorted(intents, key=lambda intent: (intent.at_s, repr(intent)))))


FATES = {
    Fate.DELIVERED: 68,
    Fate.COLLECTED: 8,
    Fate.CANCELLED: 8,
    Fate.REJECTED: 6,
    Fate.RETRIED: 4,
    Fate.LOST: 2,
    Fate.DECLINED: 4,
}


def _buys(wish: Wish, customers: int, dice: Random) -> Iterator[Buy]:
    for number in range(wish.orders):
        fate = dice.choices(list(FATES), list(FATES.values()))[0]
        # Squared, so that some listings are much wanted and run out.
        picks = tuple(
            Pick(round(dice.random() ** 2, 6), dice.choice((1, 1, 1, 2, 2, 3)), round(dice.random(), 6))
            for _ in range(dice.choice((1, 1, 2, 3)))
        )
        yield Buy(
            at_s=round(dice.uniform(0, wish.seconds), 3),
            customer=number % customers,
            store=round(dice.random(), 6),
            picks=picks,
            fate=fate,
            by_card=fate is Fate.DECLINED or dice.random() < 0.3,
            twice=dice.random() < (0.2 if wish.faults else 0.05),
            accept_after_s=round(dice.uniform(0.1, 1.5), 3),
            ready_after_s=round(dice.uniform(0.2, 2.5), 3),
        )


def _calls(wish: Wish, dice: Random) -> Iterator[Say]:
    """Every second speaker is a warehouse. What a till switches off it switches on again: see tills.py."""
    for speaker in range(wish.of_the_town):
        provider = OF_THE_TOWN[speaker % 2]
        flaws = [Flaw.DUPLICATE, Flaw.STALE, Flaw.FORGED, Flaw.UNKNOWN]
        if provider is Provider.PETPOOJA:
            flaws.remove(Flaw.STALE)
        dice.shuffle(flaws)
        calls = max(round(wish.seconds / GAP_S), 4)
        for number in range(calls):
            at_s = (number + dice.random()) * wish.seconds / calls
            # Every second one, in turn: a short run has its share of each.
            flaw = flaws[number // 2 % len(flaws)] if wish.faults and number % 2 else None
            word, units = _word(provider, flaw, number, dice)
            yield Say(round(at_s, 3), speaker, provider, word, round(dice.random(), 6), units, flaw)


def _news(wish: Wish, dice: Random) -> Iterator[Tell]:
    """Every second call of each is flawed where there are to be faults, so that a short run has its share of both."""
    for provider in wish.newcomers:
        calls = max(round(wish.seconds / GAP_S), LEAST_NEWS)
        for number in range(calls):
            at_s = (number + dice.random()) * wish.seconds / calls
            flawed = wish.faults and number % 2 == 1
            yield Tell(round(at_s, 3), provider, number, round(dice.random(), 6), dice.randint(1, 12), flawed)


def _word(provider: Provider, flaw: Flaw | None, number: int, dice: Random) -> tuple[Word, int]:
    if provider is Provider.PETPOOJA:
        return (Word.OFF, Word.ON)[number % 2], 0
    word = Word.COUNT if flaw is Flaw.STALE else dice.choice((Word.COUNT, Word.COUNT, Word.DELTA, Word.RECEIPT))
    if word is Word.COUNT:
        return word, dice.choice((0, 2, 5, 20, 60, 120))
    return word, dice.choice((-3, -1, 2, 6)) if word is Word.DELTA else dice.randint(5, 40)


def _faults(wish: Wish, dice: Random) -> Iterator[Dawdle | KillRedis]:
    for _ in range(max(1, round(2 * wish.minutes))):
        at_s = dice.uniform(0, wish.seconds / 2)
        yield Dawdle(round(at_s, 3), round(min(20, wish.seconds - at_s), 3), round(dice.random(), 6))
    yield KillRedis(round(wish.seconds * 0.4, 3))
