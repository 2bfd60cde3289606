"""Sources: what they are to people, how their calls show whose they are, and connecting one."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db import sources
from db.health import SourceHealth as SourceHealthRow
from db.telling import Untold as UntoldRow
from domain.identity import Role
from domain.profile_versions import SourceProfile as SourceProfileRow
from domain.proofs import Algorithm, Encoding, Proof, Signed, Strategy
from domain.sources import SetSource
from resolvers import health, profiles
from resolvers import sources as resolve
from schema.health import SourceHealth
from schema.profiles import SourceProfile
from schema.roots import ID, Allow, Info, Node, given, key, of
from schema.telling import Untold

if TYPE_CHECKING:
    from schema.merchants import Merchant, Store

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
class Source(Node):
    """One connection of a provider to one merchant. Secrets in endpoint URLs are masked here."""

    is_type_of = of(sources.Source)
    provider: str
    enabled: bool
    last_seen_at: datetime | None
    ip_allow: list[str] = strawberry.field(description="Networks it may call from; empty: from anywhere")
    told_orders: bool = strawberry.field(description="Whether its till is told of the orders of its stores")
    may_create: bool = strawberry.field(
        description="Whether goods that it is the first to name are made; else they wait to be mapped to goods that are there"
    )

    @strawberry.field(graphql_type=Annotated["Merchant", strawberry.lazy("schema.merchants")])
    @staticmethod
    async def merchant(root: sources.Source, info: Info) -> Any:
        return await info.context.loaders.merchants.load(root.merchant_id)

    @strawberry.field(
        graphql_type=list[Annotated["Store", strawberry.lazy("schema.merchants")]],
        description="Those it speaks for, by its mappings",
    )
    @staticmethod
    async def stores(root: sources.Source, info: Info) -> Sequence[Any]:
        return await info.context.loaders.stores_of_source.load(root.id)

    @strawberry.field(graphql_type=list[SourceProfile], description="What its payloads are read by, the newest first")
    @staticmethod
    async def profiles(root: sources.Source, info: Info) -> Sequence[SourceProfileRow]:
        return await profiles.profiles_of(info.context, root)

    @strawberry.field(description="Payloads it sent")
    @staticmethod
    async def received(root: sources.Source, info: Info) -> int:
        traffic = await info.context.loaders.traffic.load(root.id)
        return traffic.received if traffic else 0

    @strawberry.field(description="Of these, how many were refused or came to nothing")
    @staticmethod
    async def failed(root: sources.Source, info: Info) -> int:
        traffic = await info.context.loaders.traffic.load(root.id)
        return traffic.failed if traffic else 0

    @strawberry.field(graphql_type=SourceHealth)
    @staticmethod
    async def health(root: sources.Source, info: Info) -> SourceHealthRow | None:
        return await health.health(info.context, root)

    @strawberry.field(graphql_type=Untold, description="What its till has still to be told of the orders of its stores")
    @staticmethod
    async def untold(root: sources.Source, info: Info) -> UntoldRow | None:
        return await info.context.loaders.untold.load(root.id)

    @strawberry.field(graphql_type=list[SourceEndpoint])
    @staticmethod
    def endpoints(root: sources.Source, info: Info) -> Sequence[resolve.Endpoint]:
        return resolve.masked_endpoints(info.context, root)

    @strawberry.field(graphql_type=SourceProof | None, description="Its own, else its provider's usual one")
    @staticmethod
    def proof(root: sources.Source, info: Info) -> Proof | None:
        return resolve.proof_of(info.context, root)


@strawberry.type
class NewSource:
    """The secret and the full URLs, shown this once. A secret that you gave is not shown."""

    source: Source
    secret: str
    endpoints: list[SourceEndpoint]


@strawberry.type
class SupportSources:
    """What `Support` has of them."""

    @strawberry.field(graphql_type=list[Source])
    @staticmethod
    async def sources(
        info: Info, merchant_id: ID | None = strawberry.UNSET, provider: str | None = strawberry.UNSET
    ) -> Sequence[sources.Source]:
        return await resolve.sources_of(info.context, key(merchant_id, "merchantId") if merchant_id else None, provider or None)


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

    @strawberry.mutation(graphql_type=Source, extensions=[Allow(*_STAFF)])
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
