"""The operator's commands as they are typed: what goes where, and how they end."""

from tests.launch.towns import haat


def test_what_was_made_is_on_standard_output_and_the_rest_on_standard_error(database_url: str, tmp_path):
    env = {"HAAT_DATA": str(tmp_path), "HAAT_DATABASE_URL": database_url}
    added = haat("user", "add", "--name", "Noor", "--phone", "9876543210", env=env)
    assert added.returncode == 0, added.stderr
    assert added.stdout.splitlines()[1:] == ["login +919876543210", "app customer"]
    assert "they sign in with a code" in added.stderr


def test_production_refuses_the_town_and_serves_no_database_that_has_it(database_url: str, tmp_path):
    env = {"HAAT_DATA": str(tmp_path), "HAAT_DATABASE_URL": database_url}
    assert haat("seed", env=env).returncode == 0
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
