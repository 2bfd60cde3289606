import base64
import json
import time
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from adapters.tokens import JwtTokens, kid_of
from domain.identity import CLOCK, Actor, ActorKind
from domain.refusals import Refused, Unauthenticated

SEED, OLD, STRANGERS = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
ISSUER = "https://haat.example"
ACTOR = Actor(ActorKind.CUSTOMER, uuid4(), uuid4())
NOW = int(time.time())  # once, for those who sign and those who read: however long the other tests take


def private(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def kid(seed: bytes) -> str:
    return kid_of(private(seed).public_key())


def claims(**more) -> dict:
    return {
        "iss": ISSUER, "aud": "haat:customer", "sub": str(ACTOR.id), "sid": str(ACTOR.session_id), "role": "CUSTOMER",
        "iat": NOW, "nbf": NOW, "exp": NOW + 600, "jti": str(uuid4()),
    } | more  # fmt: skip


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(body: object, header: dict | None = None, seed: bytes = SEED) -> str:
    """Whatever is asked, with a signature that is right for it."""
    head = {"alg": "EdDSA", "typ": "at+jwt", "kid": kid(seed)} | (header or {})
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(body).encode())
    return f"{text}.{b64(private(seed).sign(text.encode()))}"


def without(name: str) -> dict:
    told = claims()
    del told[name]
    return told


def unsigned(alg: str) -> str:
    head = {"alg": alg, "typ": "at+jwt", "kid": kid(SEED)}
    return b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims()).encode()) + "."


def public_key_as_secret() -> str:
    """The swap: our public key, which everybody has, taken for a shared secret."""
    raw = private(SEED).public_key().public_bytes_raw()
    return jwt.encode(claims(), raw, "HS256", headers={"kid": kid(SEED), "typ": "at+jwt"})


def by_rsa() -> str:
    return jwt.encode(claims(), generate_private_key(65537, 2048), "RS256", headers={"kid": kid(SEED), "typ": "at+jwt"})


FORGED = {
    "empty": "",
    "no token": "Bearer",
    "two parts": "e30.e30",
    "alg none": unsigned("none"),
    "alg NONE": unsigned("NONE"),
    "no alg": unsigned(""),
    "HS by the public key": public_key_as_secret(),
    "RS": by_rsa(),
    "a stranger's key under our kid": signed(claims(), {"kid": kid(SEED)}, STRANGERS),
    "a stranger's key brought along": signed(
        claims(), {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(private(STRANGERS).public_key().public_bytes_raw())}}, STRANGERS
    ),
    "a key elsewhere": signed(claims(), {"jku": "https://evil.example/jwks.json", "x5u": "https://evil.example"}, STRANGERS),
    "unknown kid": signed(claims(), {"kid": "of-nobody"}),
    "retired key": signed(claims(), seed=OLD),
    "kid is a number": signed(claims(), {"kid": 7}),
    "kid is a list": signed(claims(), {"kid": [kid(SEED)]}),
    "no kid": signed(claims(), {"kid": None}),
    "another kind of token": signed(claims(), {"typ": "JWT"}),
    "crit": signed(claims(), {"crit": ["exp"]}),
    "unknown crit": signed(claims(), {"crit": ["haat"], "haat": True}),
    "empty crit": signed(claims(), {"crit": []}),
    "detached payload": signed(claims(), {"b64": False, "crit": ["b64"]}),
    "another issuer": signed(claims(iss="https://evil.example")),
    "another app's audience": signed(claims(aud="haat:merchant")),
    "another app's role": signed(claims(role="SUPPORT")),
    "nobody's audience": signed(claims(aud="haat")),
    "audience is a list": signed(claims(aud=["haat:customer"])),
    "audience is a dict": signed(claims(aud={"haat:customer": 1})),
    "expired": signed(claims(iat=NOW - 700, nbf=NOW - 700, exp=NOW - 100)),
    "not yet": signed(claims(nbf=NOW + 60)),
    "begins before it was issued": signed(claims(nbf=NOW - 60)),
    "float exp": signed(claims(exp=NOW + 600.5)),
    "exp is infinite": signed(claims(exp=float("inf"))),
    "exp is huge": signed(claims(exp=1e300)),
    "exp is text": signed(claims(exp=str(NOW + 600))),
    "exp is true": signed(claims(exp=True)),
    "exp is null": signed(claims(exp=None)),
    "iat is text": signed(claims(iat=str(NOW))),
    "float nbf": signed(claims(nbf=NOW + 0.5)),
    "lives a day": signed(claims(exp=NOW + 86_400)),
    "lives backwards": signed(claims(iat=NOW + 4, nbf=NOW + 4, exp=NOW + 3)),
    "sub is a number": signed(claims(sub=7)),
    "sub is no id": signed(claims(sub="somebody")),
    "sid is null": signed(claims(sid=None)),
    "role is a list": signed(claims(role=["CUSTOMER"])),
    "claims are a list": signed([claims()]),
    "claims are text": signed("claims"),
    "deep claims": signed(claims()).split(".")[0] + "." + b64(b"[" * 1_400) + ".e30",
    "16 KB": signed(claims(padding="x" * 16_384)),
    "16 KB of dots": "." * 16_384,
    "not ASCII": "é.é.é",
} | {f"no {name}": signed(without(name)) for name in claims()}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_token_that_is_not_exactly_ours_is_refused_without_a_reason(token):
    with pytest.raises(Refused) as no:
        JwtTokens([SEED], ISSUER, clock=lambda: NOW).read(token)
    assert no.value.refusal == Unauthenticated("sign in again")


def test_the_forger_of_these_tests_can_make_a_good_one():
    assert JwtTokens([SEED], ISSUER, clock=lambda: NOW).read(signed(claims())).actor == ACTOR


@pytest.mark.parametrize("kind", [ActorKind.CUSTOMER, ActorKind.MERCHANT, ActorKind.RIDER, ActorKind.SUPPORT])
def test_what_is_minted_is_read_back_with_its_end(kind):
    tokens = JwtTokens([SEED], ISSUER)
    actor = Actor(kind, uuid4(), uuid4())
    token, ends = tokens.mint(actor)
    read = tokens.read(token)
    assert (read.actor, read.expires_at) == (actor, ends)
    assert 590 < ends.timestamp() - time.time() <= 600


def test_a_token_ends_to_the_second_but_for_the_leeway():
    at = 1_800_000_000.0
    token, _ = JwtTokens([SEED], ISSUER, clock=lambda: at).mint(ACTOR)
    assert JwtTokens([SEED], ISSUER, clock=lambda: at + 604).read(token)
    with pytest.raises(Refused):
        JwtTokens([SEED], ISSUER, clock=lambda: at + 605).read(token)


def test_tokens_of_the_key_before_are_good_until_it_is_retired():
    before, _ = JwtTokens([OLD], ISSUER).mint(ACTOR)
    assert JwtTokens([SEED, OLD], ISSUER).read(before).actor == ACTOR
    raw = private(OLD).public_key().public_bytes_raw()
    assert JwtTokens([SEED], ISSUER, retiring=[raw]).read(before).actor == ACTOR
    with pytest.raises(Refused):
        JwtTokens([SEED], ISSUER).read(before)


def test_the_published_keys_verify_what_is_minted_and_give_nothing_away():
    tokens = JwtTokens([SEED, OLD], ISSUER)
    document = tokens.jwks()
    assert [key["kid"] for key in document["keys"]] == [kid(SEED), kid(OLD)]
    assert all(set(key) == {"kty", "crv", "use", "alg", "kid", "x"} for key in document["keys"])
    token, _ = tokens.mint(ACTOR)
    key = jwt.PyJWK(document["keys"][0]).key
    told = jwt.decode(token, key, algorithms=["EdDSA"], audience="haat:customer", issuer=ISSUER)
    assert UUID(told["sub"]) == ACTOR.id


@pytest.mark.parametrize("seeds", [[], [b"short"], [SEED, b"\x01" * 16]])
def test_a_weak_key_does_not_start(seeds):
    with pytest.raises(ValueError):
        JwtTokens(seeds, ISSUER)


@pytest.mark.parametrize("actor", [CLOCK, Actor(None), Actor(ActorKind.SOURCE, uuid4(), uuid4()), Actor(ActorKind.RIDER, uuid4())])
def test_only_a_signed_in_user_has_a_token(actor):
    with pytest.raises(ValueError):
        JwtTokens([SEED], ISSUER).mint(actor)
