import asyncio
import io

import pytest
from argon2 import PasswordHasher

from adapters.messages import ConsoleMessages, NoMessages
from adapters.passwords import AT_ONCE, Argon2Passwords
from adapters.phones import E164Phones
from adapters.seals import AesSeals, HmacDigests
from domain.refusals import Refused, Unavailable

NEW, OLD = b"n" * 32, b"o" * 32
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_what_was_sealed_opens_under_every_live_key():
    sealed = AesSeals([OLD]).seal(b"secret of a source")
    assert AesSeals([NEW, OLD]).open(sealed) == b"secret of a source"
    assert b"secret" not in sealed
    with pytest.raises(Refused) as no:
        AesSeals([NEW]).open(sealed)
    assert isinstance(no.value.refusal, Unavailable)


def test_the_same_secret_never_looks_the_same():
    seals = AesSeals([NEW])
    assert seals.seal(b"secret") != seals.seal(b"secret")


def test_a_seal_that_was_touched_does_not_open():
    seals = AesSeals([NEW])
    sealed = seals.seal(b"secret")
    for place in range(len(sealed)):
        broken = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(Refused):
            seals.open(broken)
    for short in (b"", sealed[:4], sealed[:17], sealed[:-1]):
        with pytest.raises(Refused):
            seals.open(short)


@pytest.mark.parametrize("keys", [[], [b"short"]])
def test_a_weak_sealing_key_does_not_start(keys):
    with pytest.raises(ValueError):
        AesSeals(keys)
    with pytest.raises(ValueError):
        HmacDigests(keys)


def test_digests_are_the_newest_keys_first_and_one_for_each_purpose():
    digests = HmacDigests([NEW, OLD])
    assert digests.digests("code", "123456")[1:] == HmacDigests([OLD]).digests("code", "123456")
    assert not set(digests.digests("code", "123456")) & set(digests.digests("refresh", "123456"))


async def test_a_password_matches_its_own_hash_alone():
    passwords = Argon2Passwords(CHEAP)
    hashed = await passwords.hash("ripe mangoes in May")
    assert hashed.startswith("$argon2id$")
    assert await passwords.matches(hashed, "ripe mangoes in May")
    assert not await passwords.matches(hashed, "ripe mangoes in June")
    assert not await passwords.matches(hashed, "half of one \ud83d")
    assert not await passwords.matches("not a hash", "ripe mangoes in May")


async def test_nobodys_password_costs_as_much_and_never_matches(monkeypatch):
    passwords = Argon2Passwords(CHEAP)
    compared = []
    monkeypatch.setattr(passwords, "_verify", lambda hashed, password: compared.append(hashed) or True)
    assert not await passwords.matches(None, "compared with what is typed for a login that is nobody's")
    assert compared[0].startswith("$argon2id$")


async def test_two_hashes_at_a_time_and_no_more(monkeypatch):
    passwords = Argon2Passwords(CHEAP)
    running, most = 0, 0

    async def in_thread(work, *arguments):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", in_thread)
    await asyncio.gather(*(passwords.matches(None, "x") for _ in range(20)))
    assert most == AT_ONCE


async def test_a_hash_of_less_effort_is_outdated():
    hashed = await Argon2Passwords(CHEAP).hash("ripe mangoes in May")
    assert not Argon2Passwords(CHEAP).outdated(hashed)
    assert Argon2Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)).outdated(hashed)


@pytest.mark.parametrize(
    "written", ["+919876543210", "9876543210", "098765 43210", "+91 98765-43210", "(0)98765 43210", "tel:+91-98765-43210"]
)
def test_one_phone_however_it_is_written(written):
    assert E164Phones().e164(written) == "+919876543210"


@pytest.mark.parametrize("written", ["", "12345", "asha@example.com", "+", "+91", "9" * 40, "\0", "+999123456789012"])
def test_what_is_no_phone(written):
    assert E164Phones().e164(written) is None


def test_a_number_without_plus_is_of_the_region():
    assert E164Phones("GB").e164("020 7946 0018") == "+442079460018"


async def test_the_demo_shows_its_codes_and_production_says_it_cannot():
    stream = io.StringIO()
    await ConsoleMessages(stream).send_code("+919876543210", "123456")
    assert "the code for +919876543210 is 123456" in stream.getvalue()
    with pytest.raises(Refused) as no:
        await NoMessages().send_code("+919876543210", "123456")
    assert isinstance(no.value.refusal, Unavailable)
