"""What a resolver is given."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from db.reads import Reads
from domain.bodies import Bodies
from domain.bus import Bus
from domain.identity import Actor, Phones, Seals
from domain.intake import Inbound
from domain.limits import Limits
from domain.outbound import Outbounds
from domain.payments import Gateway
from domain.positions import Positions
from domain.sessions import Digests, Messages, Passwords, Tokens
from domain.threads import Shares
from domain.unit_of_work import Begin
from resolvers.cache import UNTAGGED, Tags
from resolvers.loaders import Loaders
from resolvers.sessions import Sessions


@dataclass(frozen=True)
class Ports:
    """The outside, as far as resolvers speak to it. Made once, by wiring."""

    tokens: Tokens
    passwords: Passwords
    digests: Digests
    seals: Seals
    phones: Phones
    messages: Messages
    limits: Limits
    sessions: Sessions
    gateway: Gateway
    inbounds: Mapping[str, Inbound]
    outbounds: Outbounds
    url: str  # what providers call us by, without a slash at its end
    bus: Bus
    positions: Positions
    bodies: Bodies
    tries: Shares  # by who asks: what somebody tries takes no thread that others need


@dataclass(frozen=True)
class Context:
    """One caller's. `reads` and `unit_of_work` are the process's own; `loaders` live for one operation, or one event."""

    actor: Actor
    reads: Reads
    unit_of_work: Begin
    loaders: Loaders
    ports: Ports
    remote: str = ""  # the client's address, from a trusted proxy or the socket
    tags: Tags = UNTAGGED  # where the answer will be kept: what it is made of

    def fresh(self) -> Self:
        return replace(self, loaders=Loaders(self.reads, self.actor))
