import base64
from pathlib import Path

import pytest

from launch.load import load
from launch.problem import Problem
from settings import DEMO, Settings, key_bytes
from tests.launch.towns import haat

KEY = base64.b64encode(bytes(range(32))).decode()
PRODUCTION = {
    "HAAT_ENV": "production",
    "HAAT_DATABASE_URL": "postgresql://haat:pw-of-db@db/haat",
    "HAAT_REDIS_URL": "redis://:pw-of-redis@redis:6379/0",
    "HAAT_PUBLIC_URL": "https://haat.example",
    "HAAT_SIGNING_KEYS": KEY,
    "HAAT_SEALING_KEYS": KEY,
}


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    import os

    for name in list(os.environ):
        if name.startswith("HAAT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HAAT_DATA", str(tmp_path / "data"))


def given(monkeypatch, **changed):
    for name, value in (PRODUCTION | changed).items():
        monkeypatch.setenv(name, value)


def test_production_starts_with_what_it_needs(monkeypatch):
    given(monkeypatch)
    settings = load()
    assert settings.database_url.get_secret_value() == "postgresql+asyncpg://haat:pw-of-db@db/haat"
    assert key_bytes(settings.signing_keys[0]) == bytes(range(32))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"HAAT_SIGNING_KEYS": DEMO + KEY}, "refuses demo keys"),
        ({"HAAT_SEALING_KEYS": f"{KEY},{DEMO}{KEY}"}, "refuses demo keys"),
        ({"HAAT_SIGNING_KEYS": ""}, "needs HAAT_SIGNING_KEYS"),
        ({"HAAT_RATE_LIMITS": "off"}, "HAAT_RATE_LIMITS=off"),
        ({"HAAT_TRUSTED_PROXIES": "0.0.0.0/0"}, "everybody"),
        ({"HAAT_TRUSTED_PROXIES": "*"}, "HAAT_TRUSTED_PROXIES"),
        ({"HAAT_DATABASE_URL": "mysql://x"}, "postgresql+asyncpg://"),
        ({"HAAT_SIGNING_KEYS": "short"}, "HAAT_SIGNING_KEYS"),
    ],
)
def test_production_refuses_in_one_line_that_names_the_setting(monkeypatch, changed, said):
    given(monkeypatch, **changed)
    with pytest.raises(Problem, match=said.replace("*", r"\*").replace("+", r"\+")) as no:
        load()
    assert "\n" not in str(no.value)
    assert KEY not in str(no.value)


def test_the_command_says_it_without_a_traceback():
    refused = haat("serve", env=PRODUCTION | {"HAAT_SIGNING_KEYS": DEMO + KEY})
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "demo keys" in refused.stderr


def test_demo_keys_outlive_a_restart_and_are_for_our_eyes_only(tmp_path: Path):
    first, second = load(), load()
    assert first.signing_keys == second.signing_keys
    assert first.signing_keys != first.sealing_keys
    assert len(key_bytes(first.sealing_keys[0])) == 32
    assert (tmp_path / "data" / "secrets.json").stat().st_mode & 0o077 == 0


def test_the_first_of_two_makers_of_demo_keys_wins(monkeypatch):
    kept = load()
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)  # what both see when they start together
    assert load().signing_keys == kept.signing_keys


def test_what_is_shown_holds_no_secret(monkeypatch):
    given(monkeypatch)
    settings = load()
    for shown in (str(settings.masked()), repr(settings), str(settings)):
        assert "pw-of" not in shown
        assert KEY not in shown


def test_lists_and_switches_are_written_plainly(monkeypatch):
    monkeypatch.setenv("HAAT_TRUSTED_PROXIES", "10.0.0.1, 10.1.0.0/16")
    monkeypatch.setenv("HAAT_RATE_LIMITS", "off")
    settings = Settings()
    assert settings.trusted_proxies == ("10.0.0.1", "10.1.0.0/16")
    assert settings.rate_limits is False
    assert settings.masked()["HAAT_TRUSTED_PROXIES"] == "10.0.0.1,10.1.0.0/16"


@pytest.mark.parametrize(
    "origin", ["*", "https://*", "shop.example", "https://shop.example/", "https://*.example", "null", "ftp://x"]
)
def test_a_page_that_may_call_us_is_named_exactly(monkeypatch, origin):
    given(monkeypatch, HAAT_ALLOWED_ORIGINS=f"https://shop.example,{origin}")
    with pytest.raises(Problem):
        load()


def test_pages_that_may_call_us(monkeypatch):
    given(monkeypatch, HAAT_ALLOWED_ORIGINS="https://shop.example, http://localhost:5173")
    assert load().allowed_origins == ("https://shop.example", "http://localhost:5173")
