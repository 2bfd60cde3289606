"""What providers tell us: payloads, instructions, failures."""

from enum import Enum


class Family(Enum):
    """The doors: `/v1/integrations/{family}/…`."""

    POS = "pos"
    ERP = "erp"
    SELLER = "seller"
    PAYMENTS = "payments"


class PayloadState(Enum):
    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    REJECTED = "REJECTED"
    APPLIED = "APPLIED"
    PARKED = "PARKED"
    FAILED = "FAILED"


class InstructionState(Enum):
    WAITING = "WAITING"
    PARKED = "PARKED"
    APPLIED = "APPLIED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"


class EntityKind(Enum):
    MERCHANT = "MERCHANT"
    STORE = "STORE"
    PRODUCT = "PRODUCT"
    VARIANT = "VARIANT"
    MODIFIER = "MODIFIER"
    CATEGORY = "CATEGORY"


class FailureKind(Enum):
    AUTH = "AUTH"
    MAPPING = "MAPPING"
    VALIDATION = "VALIDATION"
    PROCESSING = "PROCESSING"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"


class FailureState(Enum):
    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"
    IGNORED = "IGNORED"
