"""The operator's commands as they are typed: what goes where, and how they end."""

from pathlib import Path

import pytest

from terminal.checks import environment
from tests.launch.towns import haat

Env = dict[str, str]


@pytest.fixture(scope="module")
def env(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Env:
    """Of a database that has the town in it."""
    env = {"HAAT_DATA": str(tmp_path_factory.mktemp("data")), "HAAT_DATABASE_URL": database_url}
    seeded = haat("seed", env=env)
    assert seeded.returncode == 0, seeded.stderr
    return env


def test_what_was_made_is_on_standard_output_and_the_rest_on_standard_error(env: Env):
    added = haat("user", "add", "--name", "Noor", "--phone", "9876543210", env=env)
    assert added.returncode == 0, added.stderr
    assert added.stdout.splitlines()[1:] == ["login +919876543210", "app customer"]
    assert "they sign in with a code" in added.stderr


def test_production_refuses_the_town_and_serves_no_database_that_has_it(env: Env):
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    production = env | {
        "HAAT_ENV": "production",
        "HAAT_REDIS_URL": "redis://127.0.0.1:1",
        "HAAT_PUBLIC_URL": "https://haat.example",
        "HAAT_SIGNING_KEYS": key,
        "HAAT_SEALING_KEYS": key,
    }
    seeded, served = haat("seed", env=production), haat("serve", env=production)
    assert seeded.stderr.startswith("haat: demo accounts have no place in production: ")
    assert served.stderr.startswith("haat: this database has the demo's accounts: ")
    assert (seeded.returncode, served.returncode) == (1, 1)


def test_an_import_with_refused_rows_ends_with_three(env: Env, tmp_path: Path):
    file = tmp_path / "goods.csv"
    columns = "index,product,category,sub_category,brand,sale_price,market_price,type,rating"
    file.write_text(f"{columns}\nP1,Soap,Beauty,Bath,Nivea,100,162,Soap,4.4\nx,y\n")
    done = haat("import", str(file), "--store", "namma-bazaar-hsr", "--stock", "3", env=env)
    assert (done.returncode, done.stdout) == (3, "row 3: has 2 columns, not 9\n"), done.stderr


def test_the_tests_hear_of_what_is_meant_for_them_and_of_no_town(monkeypatch: pytest.MonkeyPatch):
    meant = {"HAAT_TEST_DATABASE_URL": "url", "HAAT_TEST_LONG": "1", "HAAT_TEST_CATALOGUE": "goods.csv"}
    for name, value in {**meant, "HAAT_DATABASE_URL": "mine", "HAAT_TEST_LOST": "1"}.items():
        monkeypatch.setenv(name, value)
    assert {name: value for name, value in environment(False, None).items() if name.startswith("HAAT_")} == meant
