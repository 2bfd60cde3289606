from datetime import UTC, datetime
from uuid import uuid4

import pytest

from domain.identity import ANYBODY, CLOCK, Actor, ActorKind, Role
from domain.refusals import InvalidInput, Refused
from domain.sessions import SignIn, SignUp, StoredCode, WeakPassword, check_password, to_login
from domain.texts import line

PHONE, NAME = "+919876543210", "Asha Rao Deshpande"


class Phones:
    def e164(self, phone: str) -> str | None:
        return f"+91{phone}" if phone.isdigit() else None


@pytest.mark.parametrize(
    "password",
    [
        "", "short", "ninechars", "x" * 201, "aaaaaaaaaaaa", "ababababab", "1234567890", "0987654321", "qwertyuiop", "Password123",
        "password 123", "IloveYou123", "9876543210", "+919876543210", "919876543210", "09876543210", "asha rao deshpande",
        "AshaRaoDeshpande", "abcdefghijkl",
    ],
)  # fmt: skip
def test_a_password_that_is_guessed_first_is_weak(password):
    with pytest.raises(Refused) as no:
        check_password(password, phone=PHONE, name=NAME)
    assert isinstance(no.value.refusal, WeakPassword)


@pytest.mark.parametrize("password", ["ripe mangoes in May", "कच्चा आम और नमक", "X9#k2!mQ7z", "x1y2" * 50])
def test_a_password_of_ones_own_will_do(password):
    check_password(password, phone=PHONE, name=NAME)


@pytest.mark.parametrize(
    ("login", "meant"),
    [
        ("9876543210", (PHONE, None)),
        ("  9876543210 ", (PHONE, None)),
        (" Asha@Example.COM ", (None, "asha@example.com")),
        ("asha@exa\0mple.com", (None, None)),
        ("a@" + "b" * 300, (None, None)),
        ("asha", (None, None)),
        ("", (None, None)),
    ],
)
def test_a_login_is_a_phone_or_an_address(login, meant):
    assert to_login(login, Phones()) == meant


@pytest.mark.parametrize("text", ["", "   ", "x" * 11, "a\0b", "two\nlines", "half \ud83d"])
def test_what_is_no_line_of_text(text):
    with pytest.raises(Refused) as no:
        line("name", text, 10)
    assert isinstance(no.value.refusal, InvalidInput)
    assert no.value.refusal.problems[0].path == "name"


def test_a_line_loses_the_blanks_around_it_and_nothing_else():
    assert line("name", "  आशा  R. ", 10) == "आशा  R."


def test_only_a_user_has_a_role_beyond_the_publics():
    assert [Actor(kind, uuid4()).role for kind in ActorKind] == [
        Role.CUSTOMER, Role.MERCHANT, Role.RIDER, Role.SUPPORT, Role.PUBLIC, Role.PUBLIC,
    ]  # fmt: skip
    assert ANYBODY.role is CLOCK.role is Role.PUBLIC


def test_secrets_do_not_print():
    shown = repr((
        SignUp("Asha", PHONE, "SECRET", "SECRET"),
        SignIn(uuid4(), None, "SECRET", "SECRET", "SECRET"),
        StoredCode(b"SECRET", datetime.now(UTC), 5),
    ))  # fmt: skip
    assert "SECRET" not in shown
