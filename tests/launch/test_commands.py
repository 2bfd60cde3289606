"""Commands that fail say in one line what to do."""

import pytest

from tests.launch.towns import haat


@pytest.mark.parametrize("command", [["migrate"], ["serve"], ["work"]])
def test_without_a_database_they_name_the_next_command(tmp_path, command):
    failed = haat(*command, env={"HAAT_DATA": str(tmp_path)})
    assert failed.returncode == 1
    assert failed.stderr == "haat: there is no database: start ./haat up, or set HAAT_DATABASE_URL\n"


def test_a_database_that_does_not_answer_is_no_traceback(tmp_path):
    env = {"HAAT_DATA": str(tmp_path), "HAAT_DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/none"}
    failed = haat("migrate", env=env)
    assert failed.stderr == "haat: PostgreSQL does not answer (ConnectionRefusedError): is HAAT_DATABASE_URL right?\n"
    examined = haat("doctor", "--settings", env=env)
    assert examined.returncode == 1
    assert "NOT  PostgreSQL does not answer" in examined.stderr
    assert "secret@" not in examined.stderr


def test_migrating_twice_and_back_and_forth_is_safe(database_url, tmp_path):
    env = {"HAAT_DATA": str(tmp_path), "HAAT_DATABASE_URL": database_url}
    for arguments in ([], [], ["--down", "base"], []):
        done = haat("migrate", *arguments, env=env)
        assert (done.returncode, "the schema is at" in done.stderr) == (0, True), done.stderr


def test_an_unknown_worker_is_named(database_url, tmp_path):
    failed = haat("work", "--only", "gossip", env={"HAAT_DATA": str(tmp_path), "HAAT_DATABASE_URL": database_url})
    assert failed.returncode == 1
    assert "there is no worker gossip" in failed.stderr
