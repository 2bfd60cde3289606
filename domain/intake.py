"""What providers tell us: a call as it came, and what it is found to say."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from uuid import UUID

from domain import proofs
from domain.proofs import Proof, Signed
from domain.refusals import InvalidInput, Problem, Refused, Unauthenticated

if TYPE_CHECKING:
    from domain.canonical import Command
    from domain.merchants import StoreStatus


class Family(Enum):
    """The doors: `/v1/integrations/{family}/…`."""

    POS = "pos"
    ERP = "erp"
    SELLER = "seller"
    PAYMENTS = "payments"


class PayloadState(Enum):
    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    REJECTED = "REJECTED"
    APPLIED = "APPLIED"
    PARKED = "PARKED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"  # by people, before any of it was carried out


class InstructionState(Enum):
    WAITING = "WAITING"
    PARKED = "PARKED"
    APPLIED = "APPLIED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"  # with all of its batch


class EntityKind(Enum):
    MERCHANT = "MERCHANT"
    STORE = "STORE"
    PRODUCT = "PRODUCT"
    VARIANT = "VARIANT"
    MODIFIER = "MODIFIER"
    CATEGORY = "CATEGORY"


class FailureKind(Enum):
    AUTH = "AUTH"
    MAPPING = "MAPPING"
    VALIDATION = "VALIDATION"
    PROCESSING = "PROCESSING"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"


class FailureState(Enum):
    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"
    IGNORED = "IGNORED"


# ---------------------------------------------------------------- a call, and a provider's words


@dataclass(frozen=True)
class Call:
    """One call of a provider, as it came. Header names are in lower case."""

    door: str  # the provider's own table's name of what was called: "menu", "inventory"
    body: bytes
    headers: Mapping[str, str]
    received_at: datetime
    query: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)  # what the door's `{names}` were
    method: str = "POST"
    url: str = ""  # in full, as it was called
    token: str | None = field(default=None, repr=False)  # the segment of the URL that shows whose call it is
    profile: str | None = None  # its source's, once that is known


@dataclass(frozen=True)
class Source:
    """A provider's connection to a merchant, as far as a provider's file needs to know it."""

    id: UUID
    merchant_id: UUID
    provider: str
    family: Family
    stores: Mapping[str, str]  # the source's id of each store it is mapped to -> that store's time zone
    secrets: Sequence[bytes] = field(default=(), repr=False)  # the live ones; of URL_TOKEN their hashes
    ip_allow: Sequence[str] = ()
    last_seen_at: datetime | None = None
    proof: Proof | None = None  # what holds: its own, else its provider's. None proves nothing
    profile: str | None = None  # the active one, as it was said: domain/profiles.py

    @property
    def time_zone(self) -> str:
        """Of times that carry none: they are the outlet's."""
        return next(iter(self.stores.values()), "Asia/Kolkata")


@dataclass(frozen=True)
class Answer:
    status: int
    body: object  # any JSON value


@dataclass(frozen=True)
class Question:
    """Asked at once, answered at once, and nothing to keep: how is this store?"""

    store: str | None


@dataclass(frozen=True)
class TokenAsked:
    """A caller shows the secret once, to be given a token for a while: the user is the source's id."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """What one payload says, in the order it was said. `problems` name what was left out of it, each by its path."""

    commands: Sequence["Command"]
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Pieces:
    """A long payload's batch, some of it at a time, in whatever order of kinds. `whole`: it says what is there no more, too."""

    whole: bool
    batches: Iterator[Batch]


@runtime_checkable
class InPieces(Protocol):
    """An Inbound that can read a long payload bit by bit."""

    def in_pieces(self, call: Call, source: Source) -> Pieces:
        """What translate() says, of any length. Whatever it raises, now or while it is read, is kept with the payload."""


class Inbound(Protocol):
    """One provider's words, both ways. Pure: no I/O, and no clock but the call's `received_at`."""

    provider: str
    family: Family
    proof: Proof  # of a source that has none of its own
    doors: Mapping[str, str]  # what follows the source in the path, `{names}` for what differs -> the door's name
    endpoints: Mapping[str, str]  # the door's name as people are told it -> what follows the source in the path
    questions: Collection[str]  # doors that may be asked with GET

    def verify(self, call: Call, source: Source) -> None:
        """What is its own beyond the proof, which holds already. Refuses Unauthenticated."""

    def event_id(self, call: Call) -> str | None:
        """The provider's own id of what it tells: the same one is the same news, for seven days. None where it has none."""

    def translate(self, call: Call, source: Source) -> Batch | Question:
        """Whatever it raises is kept with the payload."""

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer: ...

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        """`status` is what HTTP would say; a provider that wants another says another."""

    def answer(self, call: Call, status: "StoreStatus") -> Answer:
        """To a Question."""


@runtime_checkable
class Issuer(Protocol):
    """An Inbound whose callers first ask for a token (BEARER_ISSUED): once for many calls, and nothing of it is kept."""

    tokens: Collection[str]  # the doors where one is asked for

    def asked(self, call: Call) -> TokenAsked:
        """Refuses InvalidInput. A name that is no source's is nobody."""

    def issued(self, call: Call, token: str, expires_in_s: int) -> Answer: ...


@dataclass(frozen=True)
class Wrong:
    """`store` is the source's id of the one it is about; None: its only one, where it has one."""

    kind: FailureKind
    message: str
    store: str | None = None


@dataclass(frozen=True)
class Reading:
    """What a call was found to say. `wrong` and no commands: it is refused, and kept. Both: some of it was left out."""

    commands: Sequence["Command"] = ()
    wrong: Wrong | None = None
    question: Question | None = None
    event_id: str | None = None
    translated: bool = True
    problems: Sequence[Problem] = ()  # what `wrong` lists, all of them

    @property
    def refused(self) -> bool:
        return self.wrong is not None and not self.commands


MESSAGE_LIMIT = 8_000
SECRET_WORDS = ("auth", "cookie", "token", "secret", "signature", "password", "apikey", "api-key", "api_key")  # in a name
HIDDEN = "***"  # what is kept of what has such a name
LATER_BYTES = 256 * 1024  # what is larger is kept at once and translated by the worker


def read(inbound: Inbound, call: Call, source: Source) -> Reading:
    """Whatever a provider's file raises becomes something Wrong: AUTH while it verifies, else VALIDATION.

    What is good for minutes alone is remembered for days by its own id, where its provider gives it none.
    """
    try:
        proofs.verify(source.proof, call, source.id, source.secrets)
        inbound.verify(call, source)
    except Refused as refused:
        kind = FailureKind.AUTH if isinstance(refused.refusal, Unauthenticated) else FailureKind.VALIDATION
        return Reading(wrong=Wrong(kind, described(refused)))
    except Exception as error:  # a bug of ours, or bytes nobody thought of: kept either way
        return Reading(wrong=Wrong(FailureKind.VALIDATION, described(error)))
    told_in = source.proof.told_in if source.proof is not None else ()
    shown = {name: value for name, value in call.headers.items() if name not in told_in}  # no id holds the proof itself
    call = replace(call, profile=source.profile, headers=shown)
    known_by = proofs.replay_key(source.proof, call)
    if len(call.body) > LATER_BYTES:
        reading = Reading(event_id=own_id(inbound, call), translated=False)
    else:
        reading = translated(inbound, call, source)
    if known_by is None or (reading.event_id and not _unsigned(reading.event_id, inbound, call, source.proof)):
        return reading
    return replace(reading, event_id=known_by)


def own_id(inbound: Inbound, call: Call) -> str | None:
    """None too where it cannot be told: the call is kept all the same."""
    try:
        return _keepable_id(inbound.event_id(call))
    except Exception:  # a bug of ours, or bytes nobody thought of: the worker says what is wrong with them
        return None


class _Others(Mapping[str, str]):
    """Headers as somebody else might have written them: each is there, and says something else."""

    def __getitem__(self, name: str) -> str:
        return "?"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _unsigned(event_id: str, inbound: Inbound, call: Call, proof: Proof | None) -> bool:
    """Whether who has caught the call may give it another id: it is in a header, and no header but the time is signed."""
    if proof is None or not proof.timed or proof.signed is not Signed.BODY_TIMESTAMP:
        return False
    return own_id(inbound, replace(call, headers=_Others())) != event_id


def translated(inbound: Inbound, call: Call, source: Source) -> Reading:
    """What a call says whose sender is proven."""
    call = replace(call, profile=source.profile)
    event_id = None
    try:
        event_id = inbound.event_id(call)
        said = inbound.translate(call, source)
        if not keepable(event_id) or (_suspect(call) and isinstance(said, Batch) and not keepable(said.commands)):
            event_id = None
            raise ValueError("characters that are no text")
    except Exception as error:  # as above
        told = Wrong(FailureKind.VALIDATION, described(error))
        return Reading(wrong=told, event_id=_keepable_id(event_id), problems=problems_of(error))
    if isinstance(said, Question):
        return Reading(question=said)
    wrong = Wrong(FailureKind.VALIDATION, listed(said.problems)) if said.problems else None
    return Reading(said.commands, wrong, event_id=event_id, problems=said.problems)


def _keepable_id(event_id: str | None) -> str | None:
    return event_id if keepable(event_id) else None


def _suspect(call: Call) -> bool:
    """Whether it may hold a NUL or half of a surrogate pair, as a byte, as JSON's escape, or in what its URL says."""
    body = call.body
    in_body = b"\0" in body or b"\\u0000" in body or b"\\ud" in body.lower()
    return in_body or not keepable({**call.query, **call.path})


def keepable(value: object) -> bool:
    """Whether all text in it can be kept: PostgreSQL takes no NUL, and UTF-8 no half pairs."""
    match value:
        case str():
            return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
        case dict():
            return all(keepable(part) for pair in value.items() for part in pair)
        case list() | tuple():
            return all(map(keepable, value))
        case _ if is_dataclass(value):
            return all(keepable(getattr(value, one.name)) for one in fields(value))
        case _:
            return True


def described(error: Exception) -> str:
    """For people: what is wrong, and where."""
    if isinstance(error, Refused):
        problems = problems_of(error)
        return listed(problems) if problems else error.refusal.message
    return printable(f"{type(error).__name__}: {error}")[:MESSAGE_LIMIT]


def problems_of(error: Exception) -> Sequence[Problem]:
    """Each by its path, where it is about arguments."""
    refusal = error.refusal if isinstance(error, Refused) else None
    return refusal.problems if isinstance(refusal, InvalidInput) else ()


def listed(problems: Sequence[Problem], beyond: int = 0) -> str:
    """One a line, up to a limit: the count at the end tells of the rest, and of so many `beyond` them."""
    lines, size = [], 0
    for index, problem in enumerate(problems):
        line = printable(f"{problem.path}: {problem.message}")
        size += len(line) + 1
        if size > MESSAGE_LIMIT:
            beyond += len(problems) - index
            break
        lines.append(line)
    if beyond:
        lines.append(f"… and {beyond} more")
    return "\n".join(lines)


def printable(text: str) -> str:
    """As PostgreSQL can keep it: without NUL, and without halves of surrogate pairs."""
    return text.replace("\0", "␀").encode("utf-8", "replace").decode()


JUDGEMENT = "JUDGEMENT"  # what the instructions of a whole push wait for, before any of them runs
APPROVAL = "APPROVAL"  # and after, where it would do too much
