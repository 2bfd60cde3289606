"""The door of the payment gateways: `/v1/payments/{gateway}/webhooks`."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from domain import trace
from domain.failures import NewFailure, fail
from domain.intake import FailureKind, Family, PayloadState
from domain.limits import network_of
from domain.payloads import OTHERWISE, REPEATED, UNSIGNED_BYTES, Payload, Received
from domain.payments import GatewayWords, SettlePayment
from domain.purchases import settle_payment
from domain.refusals import Kind, Refused
from domain.unit_of_work import Begin, UnitOfWork
from webhooks.bodies import body_of
from webhooks.limits import Budget
from webhooks.traces import traced

BODY_BYTES = 64 * 1024
DOOR = "webhooks"
DEADLINE_S = 8


@dataclass(frozen=True)
class PaymentDoor:
    gateways: Mapping[str, GatewayWords]
    unit_of_work: Begin
    rejected: Budget = field(default_factory=Budget)

    def routes(self) -> list[Route]:
        return [Route("/v1/payments/{gateway}/webhooks", self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """2xx means done and on disk. A gateway that hears anything else says it again, and once is enough.

        What is signed and cannot be right (another amount than ours) is kept as a failure and answered 2xx: saying it again
        would not make it right.
        """
        return await traced(self._read_and_keep, request)

    async def _read_and_keep(self, request: Request) -> Response:
        name = request.path_params["gateway"]
        words = self.gateways.get(name)
        if words is None:
            return JSONResponse({"message": "no such gateway"}, 404)
        try:
            body = await body_of(request, BODY_BYTES)
        except ClientDisconnect:
            return JSONResponse({"message": "the body did not arrive"}, 400)
        if body is None:
            return JSONResponse({"message": "too large"}, 413)
        received = Received(
            None,
            name,
            Family.PAYMENTS,
            DOOR,
            body,
            hashlib.sha256(body).digest(),
            {"content-type": request.headers.get("content-type", "")},
            request.client.host if request.client else "",
            trace.correlation_id.get(),
            datetime.now(UTC),
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._verify_and_settle(words, received, request.headers)
        except (Refused, TimeoutError):  # nothing is kept, whoever sent it: it has to be sent again
            return JSONResponse({"message": "try again later"}, 503, {"Retry-After": "5"})

    async def _verify_and_settle(self, words: GatewayWords, received: Received, headers: Mapping[str, str]) -> Response:
        """Refuses Unavailable."""
        name, body = received.provider, received.body
        try:
            words.verify(headers, body, received.at)
        except Refused as refused:
            if self.rejected.take((name, network_of(received.remote)), received.at.timestamp()):
                await self._wrong(received, PayloadState.REJECTED, FailureKind.AUTH, refused.refusal.message)
            return JSONResponse({"message": refused.refusal.message}, 401)
        try:
            settle = words.read(body)
        except (ValueError, KeyError, TypeError) as error:
            await self._wrong(received, PayloadState.FAILED, FailureKind.VALIDATION, f"{type(error).__name__}: {error}")
            return JSONResponse({"message": "not understood"}, 400)
        await self._settle(received, settle, f"{name}:{words.event_id(headers)}")
        return JSONResponse({"received": True})

    async def _settle(self, received: Received, settle: SettlePayment | None, dedupe_key: str) -> None:
        """Refuses Unavailable: then nothing is kept, and the gateway has to say it again. What failed may be said again too."""
        try:
            async with self.unit_of_work() as uow:
                payload = _payload(received, PayloadState.APPLIED, uow, dedupe_key)
                if await uow.payloads.add(payload) is None:
                    known = await uow.payloads.known_as(None, dedupe_key)
                    await _again(received, known is not None and known.sha256 == received.sha256, uow)
                elif settle is not None:
                    trace.cause.set(f"payload:{payload.id}")
                    await settle_payment(settle, uow)
        except Refused as refused:
            if refused.refusal.kind is Kind.UNAVAILABLE:
                raise
            await self._wrong(received, PayloadState.FAILED, FailureKind.PROCESSING, refused.refusal.message)

    async def _wrong(self, received: Received, state: PayloadState, kind: FailureKind, message: str) -> None:
        async with self.unit_of_work() as uow:
            payload = _payload(received, state, uow)
            await uow.payloads.add(payload)
            await fail(uow, NewFailure(uow.new_id(), kind, message, payload.id, None, None, received.provider))


async def _again(received: Received, same: bool, uow: UnitOfWork) -> None:
    """Done once, and kept as often as it comes. Other news under the same id is not believed."""
    if same:
        state, kind, message = PayloadState.DUPLICATE, FailureKind.DUPLICATE, REPEATED
    else:
        state, kind, message = PayloadState.FAILED, FailureKind.VALIDATION, f"its id {OTHERWISE}"
    payload = _payload(received, state, uow)
    await uow.payloads.add(payload)
    await fail(uow, NewFailure(uow.new_id(), kind, message, payload.id, None, None, received.provider))


def _payload(received: Received, state: PayloadState, uow: UnitOfWork, dedupe_key: str | None = None) -> Payload:
    kept = received.body[:UNSIGNED_BYTES] if state is PayloadState.REJECTED else received.body
    return Payload(uow.new_id(), received, state, kept, len(received.body), dedupe_key, translated=True, judged=True, stage=0)
