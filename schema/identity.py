"""Who is calling: signing up, in and out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import strawberry

from db import identity as rows
from domain import identity, sessions
from domain.identity import App, MerchantRole, Role
from resolvers import identity as resolve
from schema.merchants import Merchant
from schema.roots import Allow, Answers, Info, Node, Refusal, of

strawberry.enum(App, description="A session is for one app: its role is the only one in force")
strawberry.enum(
    MerchantRole, description="CLERK: orders and stock of named stores. MANAGER: also prices, status, sources. OWNER: all"
)


@strawberry.type
class Membership:
    merchant: Merchant
    role: MerchantRole


@strawberry.type
class Viewer(Node):
    is_type_of = of(rows.Viewer)
    name: str
    role: identity.Role
    phone: str | None
    email: str | None

    @strawberry.field(graphql_type=list[Membership], description="In the merchant app; empty in the others")
    @staticmethod
    async def merchants(root: rows.Viewer, info: Info) -> Sequence[rows.Membership]:
        return await resolve.memberships(info.context, root)


@strawberry.type
class Session:
    is_type_of = of(resolve.Session)
    access_token: str
    expires_at: datetime = strawberry.field(description="When the access token ends")
    refresh_token: str = strawberry.field(description="Good for one refresh, which gives the next one")
    viewer: Viewer


@strawberry.type
class WrongCredentials(Refusal):
    is_type_of = of(sessions.WrongCredentials)


@strawberry.type
class TooManyTries(Refusal):
    is_type_of = of(sessions.TooManyTries)
    retry_at: datetime


@strawberry.type
class PhoneTaken(Refusal):
    is_type_of = of(sessions.PhoneTaken)


@strawberry.type
class WeakPassword(Refusal):
    is_type_of = of(sessions.WeakPassword)


SignInResult = Annotated[Session | WrongCredentials | TooManyTries, strawberry.union("SignInResult")]
SignUpResult = Annotated[Session | PhoneTaken | WeakPassword, strawberry.union("SignUpResult")]


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Viewer | None, extensions=[Allow(Role.PUBLIC)], description="Null when signed out")
    async def viewer(self, info: Info) -> rows.Viewer | None:
        return await resolve.viewer(info.context)


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=SignUpResult, extensions=[Allow(Role.PUBLIC), Answers()])
    async def sign_up(self, info: Info, name: str, phone: str, password: str) -> resolve.Session:
        """A customer's account. The password has ten characters at least."""
        return await resolve.sign_up(info.context, name, phone, password)

    @strawberry.mutation(graphql_type=SignInResult, extensions=[Allow(Role.PUBLIC), Answers()])
    async def sign_in(self, info: Info, login: str, password: str, app: App | None = App.CUSTOMER) -> resolve.Session:
        """`login` is a phone or an e-mail address. Why it was refused is never told."""
        return await resolve.sign_in(info.context, login, password, app or App.CUSTOMER)

    @strawberry.mutation(extensions=[Allow(Role.PUBLIC)])
    async def request_otp(self, info: Info, phone: str) -> bool:
        """Sends a code of six digits, good for five minutes and five tries. The same answer for unknown phones."""
        return await resolve.request_code(info.context, phone)

    @strawberry.mutation(graphql_type=SignInResult, extensions=[Allow(Role.PUBLIC), Answers()])
    async def verify_otp(self, info: Info, phone: str, code: str, app: App | None = App.CUSTOMER) -> resolve.Session:
        """A phone that is new here gets a customer's account."""
        return await resolve.verify_code(info.context, phone, code, app or App.CUSTOMER)

    @strawberry.mutation(graphql_type=SignInResult, extensions=[Allow(Role.PUBLIC), Answers()])
    async def refresh_session(self, info: Info, refresh_token: str) -> resolve.Session:
        """Safe to repeat within thirty seconds: the answer is the same session and refresh token. Later, a token that was
        used ends its session.
        """
        return await resolve.refresh_session(info.context, refresh_token)

    @strawberry.mutation(extensions=[Allow(Role.CUSTOMER, Role.MERCHANT, Role.RIDER, Role.SUPPORT)])
    async def sign_out(self, info: Info) -> bool:
        """Ends this session, with its refresh token, everywhere within a second or so."""
        return await resolve.sign_out(info.context)
