import json
import secrets
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from launch.problem import Problem
from launch.state import running, write_private
from settings import DEMO, KEY_BYTES, Env, Settings


def load(**given: Any) -> Settings:
    """Settings for a command: what is given, then the environment; outside production the demo keys of `data` and
    the servers of the town that runs on it, where neither says otherwise. A wrong one is a Problem of one line."""
    settings = _settings(given)
    if settings.env is Env.PRODUCTION:
        return settings
    town = running(settings.data)
    found: dict[str, Any] = dict(given)
    if town is not None:
        found |= {"database_url": settings.database_url or town.database_url}
        found |= {"redis_url": settings.redis_url or town.redis_url}
        found |= {"public_url": settings.public_url or town.url}
    return _settings(found | demo_keys(settings))


def demo_keys(settings: Settings) -> dict[str, Any]:
    """Made up once, kept in `data`: sessions and sealed secrets outlive a restart."""
    unset = {name for name in ("signing_keys", "sealing_keys") if not getattr(settings, name)}
    if not unset:
        return {}
    path = settings.data / "secrets.json"
    try:
        if not path.exists():
            settings.data.mkdir(parents=True, exist_ok=True)
            made = {name: DEMO + secrets.token_urlsafe(KEY_BYTES) for name in ("signing_keys", "sealing_keys")}
            with suppress(FileExistsError):  # another command was quicker: its keys are the keys
                write_private(path, json.dumps(made), over=False)
        kept = json.loads(path.read_text())
    except OSError as error:
        raise Problem(f"{path} cannot be used ({error.strerror})", "run as its owner, or choose --data DIR") from error
    return {name: kept[name] for name in unset}


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = f"HAAT_{str(first['loc'][0]).upper()} " if first["loc"] else ""
        raise Problem(f"{where}{first['msg'].removeprefix('Value error, ')}", "see ./haat doctor --settings") from None
