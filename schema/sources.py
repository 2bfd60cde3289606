"""How a source's calls show whose they are, and connecting one."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from db import sources
from domain.identity import Role
from domain.proofs import Algorithm, Encoding, Proof, Signed, Strategy
from domain.sources import SetSource
from resolvers import sources as resolve
from schema.roots import ID, Allow, Info, given, key

if TYPE_CHECKING:
    from schema.intake import Source

strawberry.enum(
    Strategy,
    name="ProofStrategy",
    description=(
        "STANDARD_WEBHOOKS signs as that standard says. HMAC_HEADER: a header holds a MAC of what `signed` says. STATIC_HEADER: a"
        " header holds the secret. BASIC: the secret is the password. BEARER_ISSUED: a token we gave for the secret."
        " URL_TOKEN: the secret is a segment of the URL"
    ),
)
strawberry.enum(Encoding, name="ProofEncoding")
strawberry.enum(Algorithm, name="ProofAlgorithm", description="SHA1 is for who knows no other")
strawberry.enum(
    Signed,
    name="ProofSigned",
    description="The raw body, alone or with the full URL before it, the time behind it, or id and time before it with points",
)
_STAFF = (Role.MERCHANT, Role.SUPPORT)


@strawberry.type
class SourceProof:
    """How its calls show whose they are; never the secret. What a strategy has no use for is empty, or means nothing."""

    strategy: Strategy
    header: str
    prefix: str = strawberry.field(description="What stands before the value; `{source}` is the source's id")
    encoding: Encoding
    algorithm: Algorithm
    signed: Signed
    timestamp_header: str
    timestamp_field: str = strawberry.field(description="Of the body's top level")
    id_header: str
    username: str = strawberry.field(description="Of BASIC; empty: the source's id")


@strawberry.input
class SourceProofInput:
    """HMAC_HEADER and STATIC_HEADER need a header; a signed time needs one place where it is."""

    strategy: Strategy
    header: str = ""
    prefix: str = ""
    encoding: Encoding = Encoding.BASE64
    algorithm: Algorithm = Algorithm.SHA256
    signed: Signed = Signed.BODY
    timestamp_header: str = ""
    timestamp_field: str = ""
    id_header: str = ""
    username: str = ""

    def proof(self) -> Proof:
        return Proof(
            self.strategy,
            self.header,
            self.prefix,
            self.encoding,
            self.algorithm,
            self.signed,
            self.timestamp_header,
            self.timestamp_field,
            self.id_header,
            self.username,
        )


@strawberry.type
class SourceEndpoint:
    name: str
    url: str


@strawberry.type
class NewSource:
    """The secret and the full URLs, shown this once. A secret that you gave is not shown."""

    source: Annotated["Source", strawberry.lazy("schema.intake")]
    secret: str
    endpoints: list[SourceEndpoint]


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=NewSource, extensions=[Allow(*_STAFF)])
    async def connect_source(
        self,
        info: Info,
        merchant_id: ID,
        provider: str,
        secret: str | None = strawberry.UNSET,
        proof: SourceProofInput | None = strawberry.UNSET,
    ) -> resolve.NewSource:
        """Owners and managers, and support. Every call connects one more. With a secret where the provider has made it, and with
        a proof where it is not the provider's usual one."""
        own = given(proof)
        return await resolve.connect(
            info.context, key(merchant_id, "merchantId"), provider, given(secret), own.proof() if own else None
        )

    @strawberry.mutation(graphql_type=NewSource, extensions=[Allow(*_STAFF)])
    async def rotate_source_secret(
        self,
        info: Info,
        source_id: ID,
        secret: str | None = strawberry.UNSET,
        not_before: datetime | None = strawberry.UNSET,
        grace_minutes: int | None = strawberry.UNSET,
    ) -> resolve.NewSource:
        """One secret more, good from now or from a moment to come; one that was to come before is forgotten. Those that are good
        are so for a day after that, or for as many minutes as you say."""
        id = key(source_id, "sourceId")
        return await resolve.rotate(info.context, id, given(secret), given(not_before), given(grace_minutes))

    @strawberry.mutation(graphql_type=Annotated["Source", strawberry.lazy("schema.intake")], extensions=[Allow(*_STAFF)])
    async def set_source(
        self,
        info: Info,
        source_id: ID,
        enabled: bool | None = strawberry.UNSET,
        ip_allow: list[str] | None = strawberry.UNSET,
        proof: SourceProofInput | None = strawberry.UNSET,
        told_orders: bool | None = strawberry.UNSET,
        may_create: bool | None = strawberry.UNSET,
    ) -> sources.Source:
        """What is not said stays. An empty list of networks: it may call from anywhere. A proof that is null: its provider's
        usual one; with another strategy it needs another secret, so rotate it next. Told orders: its till is told of the orders
        of its stores, from now on, where setSourceAccess says. May create: whether goods that it is the first to name are made."""
        networks: Sequence[str] | None = given(ip_allow)
        own = given(proof)
        command = SetSource(
            key(source_id, "sourceId"),
            given(enabled),
            networks,
            own.proof() if own else None,
            usual_proof=proof is None,
            may_create=given(may_create),
        )
        return await resolve.change(info.context, command, given(told_orders))
