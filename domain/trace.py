"""What is being worked on: one correlation id and one cause, from the first byte in to the last frame out."""

from contextvars import ContextVar

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
cause: ContextVar[str] = ContextVar("cause", default="")  # "instruction:0197…", "customer:0197…", "clock"
