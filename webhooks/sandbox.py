"""The sandbox gateway's own pay page, where a developer is the payer: `/v1/payments/sandbox/pay/{clientSecret}`.

It stands for a partner's site: what it decides reaches us by the partner's signed webhook over HTTP, as anybody's would.
"""

import html
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from db.payments import PaymentRow, by_client_secret
from db.reads import Reads
from domain.money import Money
from domain.payments import PaymentStatus
from domain.refusals import Refused

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox payment</title><style>body{{font:18px system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem}}
button{{font:inherit;padding:.6rem 1.4rem;margin-right:.6rem}}small{{color:#555}}</style>
<h1>{amount} {currency}</h1>{body}<p><small>Sandbox: no money moves.</small></p></html>"""
BUTTONS = """<form method="post" action="{path}/approve"><button>Pay</button></form>
<form method="post" action="{path}/decline"><button>Decline</button></form>"""
SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
}
PATH = "/v1/payments/sandbox/pay/{secret}"
WEBHOOKS = "/v1/payments/sandbox/webhooks"
Answer = Callable[[Request], Awaitable[Response]]


class Signer(Protocol):
    def webhook(self, payment_id: UUID, amount: Money, *, captured: bool, now: datetime) -> tuple[bytes, dict[str, str]]: ...


@dataclass(frozen=True)
class SandboxPage:
    reads: Reads
    gateway: Signer
    send: Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]  # POST to a URL; returns the status it answered

    def routes(self) -> list[Route]:
        return [
            Route(PATH, _told_where_away(self.show), methods=["GET"]),
            Route(PATH + "/approve", _told_where_away(self.approve), methods=["POST"]),
            Route(PATH + "/decline", _told_where_away(self.decline), methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        payment = await by_client_secret(self.reads, request.path_params["secret"])
        if payment is None:
            return _page(None, "<p>No such payment.</p>", 404)
        if payment.status is not PaymentStatus.PENDING:
            return _page(payment, f"<p>This payment is {html.escape(payment.status.value.lower().replace('_', ' '))}.</p>")
        return _page(payment, BUTTONS.format(path=html.escape(request.scope["path"])))

    async def approve(self, request: Request) -> Response:
        return await self._decide(request, captured=True)

    async def decline(self, request: Request) -> Response:
        return await self._decide(request, captured=False)

    async def _decide(self, request: Request, *, captured: bool) -> Response:
        payment = await by_client_secret(self.reads, request.path_params["secret"])
        if payment is None:
            return _page(None, "<p>No such payment.</p>", 404)
        body, headers = self.gateway.webhook(payment.id, payment.amount, captured=captured, now=datetime.now(UTC))
        host, port = request.scope["server"]  # of the very socket we were called on: a Host header could name anybody
        status = await self.send(f"http://{f'[{host}]' if ':' in host else host}:{port}{WEBHOOKS}", body, headers)
        if status >= 300:
            return _page(payment, f"<p>The shop answered {status}. Try again.</p>", 502)
        return _page(payment, "<p>Paid. You can go back to the shop.</p>" if captured else "<p>Declined.</p>")


def _told_where_away(answer: Answer) -> Answer:
    """Without the database nobody can say what is to be paid, now."""

    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except Refused:
            page = _page(None, "<p>The shop is not there at the moment. Try again.</p>", 503)
            page.headers["retry-after"] = "5"
            return page

    return told


def _page(payment: PaymentRow | None, body: str, status: int = 200) -> HTMLResponse:
    amount, currency = (str(payment.amount.amount), payment.amount.currency) if payment else ("", "")
    return HTMLResponse(PAGE.format(amount=amount, currency=currency, body=body), status, headers=SECURITY)
