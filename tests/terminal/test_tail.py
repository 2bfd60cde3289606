"""What `./haat tail` asks of a feed, and how it shows what came."""

from graphql import get_named_type

from terminal.tail import Asked, feeds, selection, tell


def asked_of(feed):
    return selection(get_named_type(feeds()[feed].type), 0)


def test_all_that_is_plain_in_a_frame_is_asked_for():
    board, cart = asked_of("deliveryBoard"), asked_of("cartChanges")
    assert "changes { status version at delivery { id }" in board
    assert "positions { deliveryId position { point { lat lng } headingDegrees at } etaAt }" in board
    assert "lineId line { id } filledPrice { amount currency } price { amount currency }" in cart
    assert "problems" in cart


def test_a_frame_of_several_lists_is_shown_whole(capsys):
    frame = {
        "cursor": "Wy",
        "reset": True,
        "degraded": False,
        "changes": [{"status": "ASSIGNED"}],
        "positions": [{"position": {"at": "10:10"}}],
    }
    tell(Asked("deliveryBoard", [], None, None, json=False), {"data": {"deliveryBoard": frame}})
    said = capsys.readouterr()
    assert [line.strip() for line in (said.out or said.err).splitlines()[1:]] == ["status=ASSIGNED", "position.at=10:10"]
