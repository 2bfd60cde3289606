"""What others wrote against the specifications works with us, as it comes."""

from domain.identity import ActorKind
from tests.api import nodejs
from tests.api.stall import serving
from tests.figures import show


async def test_every_audit_of_graphql_over_http_is_ok():
    async with serving() as stall:
        found = await nodejs.run("audit.mjs", stall.url)
    show("graphql-http", audits=found["count"], failed=len(found["failed"]))
    assert found == {"count": 61, "failed": []}


async def test_the_stock_socket_client_asks_follows_leaves_and_pings():
    async with serving() as stall:
        token = stall.token(kind=ActorKind.CUSTOMER)
        user = stall.claims[token].actor
        found = await nodejs.run("follow.mjs", stall.url.replace("http", "ws"), token)
    assert found["query"] == [{"data": {"viewer": str(user)}}]
    assert found["mutation"] == [{"data": {"add": {"count": 2}}}]
    assert found["ended"] == [{"data": {"count": {"number": number}}} for number in range(3)]
    assert len(found["left"]) == 30
    assert found["pongs"] > 0
