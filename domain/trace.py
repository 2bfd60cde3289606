"""What is being worked on: one correlation id and one cause, from the first byte in to the last frame out."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
cause: ContextVar[str] = ContextVar("cause", default="")  # "instruction:0197…", "customer:0197…", "clock"
# cause -> correlation id, where one transaction does the work of several
correlations: ContextVar[Mapping[str, str]] = ContextVar("correlations", default=MappingProxyType({}))
