import pytest

from domain.pictures import addresses, copies_of, host_of, sniffed, wait_after
from tests.simulators.pictures import SHAPES


@pytest.mark.parametrize(("kind", "beginning"), SHAPES.items())
def test_an_image_is_known_by_its_first_bytes(kind, beginning):
    assert sniffed(beginning + b"rest") == f"image/{'jpeg' if kind == 'jpg' else kind}"


@pytest.mark.parametrize(
    "data",
    [b"", b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", b"<html>", b"GIF8", b"RIFF1234WAVE", b"%PDF-1.7", b"\xff\xd8"],
)
def test_what_a_browser_could_run_is_none(data):
    assert sniffed(data) is None


def test_ours_are_shown_where_we_have_them():
    images = ("https://a/1.jpg", "https://a/2.jpg")
    assert copies_of(images, {}) == ()
    assert copies_of(images, {"https://a/2.jpg": "ff"}) == ("", "ff")
    assert addresses(images, ()) == images
    assert addresses(images, ("", "ff")) == ["https://a/1.jpg", "/v1/images/ff"]


def test_a_host_that_nobody_can_read_is_none():
    assert (host_of("https://Img.Example/x"), host_of("https://["), host_of("https:///x")) == ("img.example", "", "")


def test_tries_are_farther_and_farther_apart_and_over_within_three_hours():
    waits = [wait_after(attempts, 0.5).total_seconds() for attempts in range(1, 6)]
    assert waits == [30, 120, 480, 1920, 7680]
    assert (wait_after(1, 0).total_seconds(), wait_after(1, 1).total_seconds()) == (22.5, 37.5)
