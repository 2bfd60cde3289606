"""Any system's JSON, read by a profile of its source's: which places of a payload make which commands.

The language is domain/profiles.py's. Providers of whom nobody has shown us a contract are this one too, with a profile of
ours to begin with: posist.py, dotpe.py, omuni.py.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from domain.documents import parse
from domain.intake import LATER_BYTES, Answer, Batch, Call, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.profile_checking import known
from domain.profile_reading import lines_of
from domain.profile_values import Place, listed
from domain.profiles import ACK, ENDPOINTS, ENTITY_VERSION, ERROR, HEADER, Path, Profile, Reply
from domain.proofs import STANDARD_WEBHOOKS
from domain.refusals import Refused, invalid

RETRIED = frozenset({404, 405, 408, 413, 429})  # what says more than that the news is wrong, or that it may come again
ZONE = "Asia/Kolkata"


class Generic:
    proof = STANDARD_WEBHOOKS
    questions: Collection[str] = frozenset()
    endpoints: Mapping[str, str] = {name: "import" if name == "import" else f"webhooks/{name}" for name in ENDPOINTS}
    doors: Mapping[str, str] = {path: door for door, path in endpoints.items()}

    def __init__(self, provider: str = "generic", family: Family = Family.ERP, builtin: str | None = None) -> None:
        self.provider, self.family, self.builtin = provider, family, builtin

    def verify(self, call: Call, source: Source) -> None:
        """The proof is all: which store a call is of, the profile finds."""

    def event_id(self, call: Call) -> str | None:
        """By the profile, in its order."""
        try:
            profile = self._profile(call.profile)
            for way in profile.dedupe:
                id = _event_id(way, profile, call)
                if id is not None:
                    return id
        except Refused:
            pass  # it is said where the payload is translated
        return None

    def translate(self, call: Call, source: Source) -> Batch | Question:
        lines, problems = lines_of(self._profile(source.profile), call, source.time_zone, source.stores)
        return Batch(
            [command for line in lines for command in line.commands],
            list(dict.fromkeys([*problems, *(problem for line in lines for problem in line.problems)])),
        )

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return _answer(self._voice(call, ACK, error=False), {"payload": str(payload_id)})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        reply = self._voice(call, ERROR, error=True)
        mine = reply is not ERROR and 400 <= status < 500 and status not in RETRIED
        return _answer(Reply(reply.status if mine else status, reply.body), {"reason": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "open": status in SELLING})

    def _profile(self, text: str | None) -> Profile:
        """Refuses InvalidInput where there is none, or one that today's language does not know."""
        text = text or self.builtin
        if text is None:
            raise invalid("$", "the source has no active profile: save one, try it on this payload, and activate it")
        return known(text)

    def _voice(self, call: Call, usual: Reply, *, error: bool) -> Reply:
        try:
            profile = self._profile(call.profile)
        except Refused:
            return usual
        return profile.error if error else profile.ack


GENERICS = (Generic(), Generic("generic_pos", Family.POS), Generic("generic_seller", Family.SELLER))
"""By what their ids are: an ERP's and a seller's are the merchant's SKUs, a till's are its own."""


def _answer(reply: Reply, known: Mapping[str, str]) -> Answer:
    body = _filled(reply.body, known)
    return Answer(reply.status, body)


def _filled(told: Any, known: Mapping[str, str]) -> Any:
    match told:
        case str():
            for name, text in known.items():
                told = told.replace(f"{{{name}}}", text)
            return told
        case dict():
            return {name: _filled(one, known) for name, one in told.items()}
        case list():
            return [_filled(one, known) for one in told]
        case _:
            return told


def _event_id(way: str | Path, profile: Profile, call: Call) -> str | None:
    if isinstance(way, Path):
        if len(call.body) > LATER_BYTES:
            return None  # the worker reads it
        told = listed(way, Place(*(parse(call.body),) * 2, call.received_at, ZONE))
        text = None if isinstance(told.told, bool) else told.text(most=200)
        return f"path:{text}" if text else None
    if way.startswith(HEADER):
        name = way.removeprefix(HEADER)
        text = call.headers.get(name, "").strip()[:200]
        return f"{name}:{text}" if text else None
    if way == ENTITY_VERSION and len(call.body) <= LATER_BYTES:
        return _by_version(profile, call)
    return None  # a hash is compared with what came just before, and with nothing else


def _by_version(profile: Profile, call: Call) -> str | None:
    """Where every command has a version: the same versions of the same things are the same news."""
    lines, problems = lines_of(profile, call, ZONE, {})
    commands = [command for line in lines for command in line.commands if not command.whole]
    if problems or not commands or any(command.version is None for command in commands) or any(line.problems for line in lines):
        return None
    said = sorted({f"{type(command).__name__} {command.entity} {command.version}" for command in commands})
    return f"versions:{hashlib.sha256(chr(10).join(said).encode()).hexdigest()}"
