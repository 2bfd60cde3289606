"""What is being worked on: one correlation id and one cause, from the first byte in to the last frame out."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from os import urandom
from types import MappingProxyType

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
cause: ContextVar[str] = ContextVar("cause", default="")  # "instruction:0197…", "customer:0197…", "clock"
# cause -> correlation id, where one transaction does the work of several
correlations: ContextVar[Mapping[str, str]] = ContextVar("correlations", default=MappingProxyType({}))

_OWN = re.compile(rb"[A-Za-z0-9._:-]{8,64}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


def correlation_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own, its trace's, or a new one."""
    own = _OWN.fullmatch(headers.get(b"x-correlation-id", b""))
    if own:
        return own[0].decode()
    parent = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if parent and parent[1].strip(b"0"):
        return parent[1].decode()
    return urandom(16).hex()
