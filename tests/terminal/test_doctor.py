"""What the doctor says of the blob store."""

import pytest

from settings import Env, Settings
from terminal.doctor import blobs


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    monkeypatch.setenv("HAAT_DATA", str(tmp_path / "data"))


def test_a_store_that_takes_and_gives_is_fine_and_keeps_nothing_of_it(tmp_path):
    found = blobs(Settings(env=Env.TEST, blob_url=(tmp_path / "blobs").as_uri()))
    assert (found.fine, found.todo) == (True, "")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_a_store_that_does_not_answer_is_said_with_what_to_do(tmp_path):
    (tmp_path / "blobs").write_text("a file")
    found = blobs(Settings(env=Env.TEST, blob_url=(tmp_path / "blobs").as_uri()))
    assert (found.fine, "HAAT_BLOB_URL" in found.todo) == (False, True)


def test_without_one_it_says_where_long_payloads_lie(tmp_path):
    assert blobs(Settings(env=Env.TEST)).what == f"long payloads lie in {tmp_path}/data/blobs"
    assert not (tmp_path / "data").exists()
