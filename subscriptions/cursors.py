"""A client's place in its feed, as it is handed out and taken back: good across servers and restarts."""

import base64
import binascii
import hashlib
from collections.abc import Iterable

import msgspec

from db.events import Head
from domain.refusals import invalid

LONGEST = 200


def tag(name: str, arguments: Iterable[object]) -> str:
    """Which feed a cursor belongs to. The same words on every server, in every version."""
    said = "\x1f".join([name, *(str(argument) for argument in arguments)])
    return hashlib.blake2b(said.encode(), digest_size=6).hexdigest()


def cursor(head: Head, feed: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((head.epoch, head.pos, feed))).decode().rstrip("=")


def read_cursor(text: str, feed: str) -> Head:
    """Refuses InvalidInput for what is no cursor, and for one of another feed."""
    try:
        if len(text) > LONGEST or not text.isascii():
            raise ValueError("too long")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        epoch, pos, of = msgspec.json.decode(raw, type=tuple[str, int, str])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise invalid("after", "not a cursor") from None
    if of != feed:
        raise invalid("after", "a cursor of another feed")
    if not 0 <= pos < 2**63:
        raise invalid("after", "not a cursor")
    return Head(epoch, pos)
