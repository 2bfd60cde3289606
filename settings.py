import base64
import binascii
import ipaddress
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).parent
DEMO = "demo-"
"""What the keys we make up ourselves begin with, so that production knows them again."""
KEY_BYTES = 32


class Env(Enum):
    DEMO = "demo"
    PRODUCTION = "production"
    TEST = "test"


def split(value: Any) -> Any:
    """Lists are written `a,b`."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def on_or_off(value: Any) -> Any:
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(split)]


class Settings(BaseSettings):
    """Every knob, from the environment as HAAT_… in capitals. `launch.load` finds what is unset."""

    model_config = SettingsConfigDict(env_prefix="HAAT_", frozen=True, hide_input_in_errors=True, extra="forbid")

    env: Env = Env.DEMO
    data: Path = Field(ROOT / ".haat", description="where the embedded servers, their blobs and the demo keys live")

    database_url: SecretStr | None = Field(None, description="postgresql+asyncpg://…; unset: the embedded PostgreSQL")
    redis_url: SecretStr | None = Field(None, description="redis://…, or memory:// for one server process alone")
    blob_url: str | None = Field(
        None, description="s3://…, gs://…, az://… or file:///…; unset: a directory of `data`, in production none"
    )
    public_url: str | None = Field(None, description="what the world calls us by, https://… in production")
    host: str = Field("127.0.0.1", description="the address to listen on; 0.0.0.0 in a container")
    port: int = Field(8000, ge=0, le=65_535)
    work_port: int = Field(8001, ge=0, le=65_535, description="where `work` tells of its health, or the next free one")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)] = Field(
        (), description="addresses or networks whose X-Forwarded-For we believe, a,b; never *"
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)] = Field(
        (), description="pages besides our own that may call the API, https://a.example,b; never *"
    )
    rate_limits: Annotated[bool, BeforeValidator(on_or_off)] = Field(True, description="on or off; off for load tests")
    alerts_url: SecretStr | None = Field(None, description="a Slack incoming webhook, https://…; unset: nobody is alerted")
    alerts_relay_lag_s: float = Field(30, gt=0, description="so long may a committed event wait for its place in the log")
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    signing_keys: Keys = Field((), description="Ed25519 seeds for tokens, base64, a,b; the first signs, all verify")
    sealing_keys: Keys = Field((), description="keys that seal partners' secrets, base64, a,b; the first seals, all open")

    # Σ over processes stays below 80 % of the server's max_connections.
    pool_size: int = Field(15, ge=1)
    pool_overflow: int = Field(0, ge=0, description="closed again after each use: a rush is slower with them, not faster")
    pool_timeout_s: float = 2
    writes_at_once: int = Field(8, ge=1, description="transactions of a process; others wait their turn, not on locks")
    queries_at_once: int = Field(8, ge=1, description="of a process; others wait their turn, and leave connections to writes")
    pool_recycle_s: int = 1800
    intake_pool_size: int = Field(10, ge=1, description="a pool of its own: browsing cannot starve the webhooks")
    database_connect_timeout_s: float = 5
    database_command_timeout_s: float = 10
    statement_timeout_ms: int = 5_000
    lock_timeout_ms: int = 2_000
    idle_in_transaction_timeout_ms: int = 10_000

    payload_inline_bytes: int = Field(32_768, ge=0, description="what is longer lies in the blob store, not in its row")
    payload_inline_days: int = Field(7, ge=0, description="so long short ones stay in their rows; 0: for ever")
    payload_body_days: int = Field(90, ge=0, description="bodies of what is done with are kept so long; 0: for ever")
    payload_days: int = Field(365, ge=0, description="and the payloads themselves, with what became of them; 0: for ever")

    request_deadline_s: float = 10
    keep_alive_s: int = Field(65, description="the front proxy's own idle time and 5 s more")
    graceful_shutdown_s: int = 25
    websocket_message_bytes: int = 65_536
    cache_bytes: int = Field(67_108_864, ge=0, description="public answers a process keeps; 0: none, every one is read anew")
    concurrency: int | None = Field(None, description="connections a process takes at most; about 2× what was tested")

    @field_validator("database_url")
    @classmethod
    def _through_asyncpg(cls, value: SecretStr | None) -> SecretStr | None:
        """SQLAlchemy takes the bare scheme for another driver."""
        if value is None:
            return None
        scheme, found, rest = value.get_secret_value().partition("://")
        if not found or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
            raise ValueError("must begin with postgresql+asyncpg://")
        return SecretStr(f"postgresql+asyncpg://{rest}")

    @field_validator("redis_url")
    @classmethod
    def _known_bus(cls, value: SecretStr | None) -> SecretStr | None:
        known = ("redis://", "rediss://", "unix://", "memory://")
        if value is not None and not value.get_secret_value().startswith(known):
            raise ValueError(f"must begin with one of {' '.join(known)}")
        return value

    @field_validator("blob_url")
    @classmethod
    def _known_store(cls, value: str | None) -> str | None:
        known = ("s3://", "gs://", "az://", "file:///")
        if value is not None and not value.startswith(known):
            raise ValueError(f"must begin with one of {' '.join(known)}")
        return value

    @field_validator("alerts_url")
    @classmethod
    def _webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must begin with https://")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _exact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            if ipaddress.ip_network(proxy, strict=False).prefixlen == 0:
                raise ValueError(f"{proxy} is everybody")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, found, host = origin.partition("://")
            if scheme not in {"http", "https"} or not found or not host or "*" in host or "/" in host:
                raise ValueError(f"{origin} is not an origin such as https://shop.example")
        return value

    @field_validator("signing_keys", "sealing_keys")
    @classmethod
    def _whole_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            key_bytes(key)
        return value

    @model_validator(mode="after")
    def _fit_for_production(self) -> "Settings":
        if self.env is Env.PRODUCTION:
            needed = ("database_url", "redis_url", "public_url", "signing_keys", "sealing_keys")
            missing = [f"HAAT_{name.upper()}" for name in needed if not getattr(self, name)]
            if missing:
                raise ValueError(f"HAAT_ENV=production needs {', '.join(missing)}")
            if any(key.get_secret_value().startswith(DEMO) for key in (*self.signing_keys, *self.sealing_keys)):
                raise ValueError("HAAT_ENV=production refuses demo keys: make your own with `openssl rand -base64 32`")
            if not self.rate_limits:
                raise ValueError("HAAT_ENV=production refuses HAAT_RATE_LIMITS=off")
        return self

    @property
    def in_memory(self) -> bool:
        """No Redis: one server process, with the workers inside."""
        return self.redis_url is not None and self.redis_url.get_secret_value() == "memory://"

    def masked(self) -> dict[str, str]:
        """Every setting as text, for people: secrets and passwords are stars."""
        shown = {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
        return {f"HAAT_{name.upper()}": as_written(value) for name, value in shown.items()}


def as_written(value: Any) -> str:
    """As one would set it in the environment."""
    match value:
        case bool():
            return "on" if value else "off"
        case list():
            return ",".join(map(str, value))
        case _:
            return str(value)


def key_bytes(key: SecretStr) -> bytes:
    """The 32 bytes of one of the keys; a demo key's mark does not count."""
    text = key.get_secret_value().removeprefix(DEMO)
    try:
        raw = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a key is not base64") from None
    if len(raw) != KEY_BYTES:
        raise ValueError(f"a key has {len(raw)} bytes, not {KEY_BYTES}")
    return raw
