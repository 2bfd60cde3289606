"""Signatures over raw bytes: who has the secret has sent exactly this."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from domain.refusals import Refused, Unauthenticated

TOLERANCE_S = 300
PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
_DIGEST_BYTES = 32
_MOST_SIGNATURES = 16  # a header of thousands would be work without proof


def unproven() -> Refused:
    """To be raised: the same for every reason, so that nobody learns which part was nearly right."""
    return Refused(Unauthenticated("the signature does not match"))


def secret_bytes(text: str) -> bytes:
    """Of `whsec_…`. ValueError for what is no secret."""
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a secret is base64") from error
    if len(raw) not in SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} bytes")
    return raw


def sign(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Standard Webhooks 1.0.0: one `v1,…` of the header `webhook-signature`."""
    return f"v1,{base64.b64encode(_digest(secret, message_id, str(timestamp_s), body)).decode()}"


def verify(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Standard Webhooks 1.0.0: any live secret, any `v1` of the header. Refuses Unauthenticated, and nothing else ever.

    Header names are in lower case. A message is good for five minutes before and after its own time.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = [_decoded(part[3:]) for part in headers.get("webhook-signature", "").split(" ") if part.startswith("v1,")]
    given = [digest for digest in given[:_MOST_SIGNATURES] if len(digest) == _DIGEST_BYTES]
    if not message_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise unproven()
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise unproven()
    wanted = [_digest(secret, message_id, timestamp, body) for secret in secrets]
    # All of them, whichever matches: how long it takes says nothing.
    matches = [hmac.compare_digest(digest, want) for digest in given for want in wanted]
    if not any(matches):
        raise unproven()


def _digest(secret: bytes, message_id: str, timestamp: str, body: bytes) -> bytes:
    signed = b".".join((message_id.encode("utf-8", "surrogatepass"), timestamp.encode(), body))
    return hmac.new(secret, signed, hashlib.sha256).digest()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both
        return b""
