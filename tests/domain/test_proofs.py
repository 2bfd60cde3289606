"""How a call shows whose it is: the published vectors, and all that is nearly right."""

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from domain.intake import Call, FailureKind, Source, read
from domain.proofs import (
    BASIC,
    BEARER_ISSUED,
    STANDARD_WEBHOOKS,
    TOKEN_S,
    URL_TOKEN,
    Algorithm,
    Encoding,
    Proof,
    Signed,
    Strategy,
    issue,
    issued_for,
    key_of,
    lower,
    named_by,
    problems,
    prove,
    replay_key,
    shown,
    token_hash,
    verify,
)
from domain.refusals import Refused, Unauthenticated
from providers.wms import Wms

KEY = "docs-example-key-not-a-secret-01"
BODY = b'{"type":"stock.snapshot","data":{"sku":"TEA-250","available":12}}'
URL = "https://market.example/v1/integrations/pos/square/webhooks/inventory"
ID, ANOTHER = UUID(int=7), UUID(int=8)
NOW = datetime(2026, 1, 1, tzinfo=UTC)  # 1767225600

SQUARE = Proof(Strategy.HMAC_HEADER, "x-square-hmacsha256-signature", signed=Signed.URL_BODY)
SHOPIFY = Proof(Strategy.HMAC_HEADER, "x-shopify-hmac-sha256")
DELIVERECT = Proof(Strategy.HMAC_HEADER, "x-server-authorization-hmac-sha256", encoding=Encoding.HEX)
TOAST = Proof(Strategy.HMAC_HEADER, "toast-signature", signed=Signed.BODY_TIMESTAMP, timestamp_header="x-timestamp")
TOAST_ITSELF = replace(TOAST, timestamp_header="", timestamp_field="timestamp")
PREFIXED = Proof(Strategy.HMAC_HEADER, "x-signature", prefix="v1=", encoding=Encoding.HEX, algorithm=Algorithm.SHA512)
OLD = Proof(Strategy.HMAC_HEADER, "x-hub-signature", prefix="sha1=", encoding=Encoding.HEX, algorithm=Algorithm.SHA1)
DOTTED = Proof(
    Strategy.HMAC_HEADER, "x-sig", signed=Signed.ID_TIMESTAMP_BODY, timestamp_header="x-at", id_header="x-id", prefix="v1,"
)
HEADER = Proof(Strategy.STATIC_HEADER, "x-api-token")
APIKEY = Proof(Strategy.STATIC_HEADER, "authorization", prefix="apikey {source}:")
NAMED = replace(BASIC, username="till-4")
OWN_HEADER = replace(BEARER_ISSUED, header="apikey")
SIGNING = {
    "square": SQUARE,
    "shopify": SHOPIFY,
    "deliverect": DELIVERECT,
    "toast": TOAST,
    "toast in its body": TOAST_ITSELF,
    "prefixed": PREFIXED,
    "old": OLD,
    "dotted": DOTTED,
    "standard": STANDARD_WEBHOOKS,
}
SHOWING = {
    "header": HEADER,
    "apikey": APIKEY,
    "basic": BASIC,
    "basic by name": NAMED,
    "bearer": BEARER_ISSUED,
    "bearer of its own": OWN_HEADER,
    "url": URL_TOKEN,
}
EVERY = {**SIGNING, **SHOWING}
TIMED = {name: proof for name, proof in EVERY.items() if proof.timed}
every = pytest.mark.parametrize("proof", EVERY.values(), ids=EVERY.keys())
signing = pytest.mark.parametrize("proof", SIGNING.values(), ids=SIGNING.keys())
timed = pytest.mark.parametrize("proof", TIMED.values(), ids=TIMED.keys())


def secret_of(proof: Proof, seed: bytes = b"a secret") -> str:
    return shown(proof, hashlib.sha256(seed).digest())


def kept(proof: Proof, *secrets: str) -> list[bytes]:
    """As a source has them."""
    of_url = proof.strategy is Strategy.URL_TOKEN
    return [token_hash(secret) if of_url else key_of(proof, secret) for secret in secrets]


def called(proof: Proof, secret: str | None = None, at: datetime = NOW, source_id: UUID = ID) -> Call:
    """As its provider would."""
    secret = secret or secret_of(proof)
    body = BODY if proof != TOAST_ITSELF else b'{"timestamp":%d,"eventType":"stock"}' % int(at.timestamp())
    headers = prove(proof, secret, source_id, URL, body, at, "msg_1")
    token = secret if proof.strategy is Strategy.URL_TOKEN else None
    return Call("stock", body, {name.lower(): value for name, value in headers.items()}, NOW, url=URL, token=token)


def refused(proof: Proof | None, call: Call, *secrets: str, source_id: UUID = ID) -> None:
    mine = secrets or ((secret_of(proof),) if proof else ())
    with pytest.raises(Refused) as no:
        verify(proof, call, source_id, kept(proof, *mine) if proof else ())
    assert no.value.refusal == Unauthenticated("the signature does not match")


# ---------------------------------------------------------------- what holds


@pytest.mark.parametrize(
    ("proof", "headers"),
    [
        (
            STANDARD_WEBHOOKS,
            {
                "webhook-id": "msg_docs_0001",
                "webhook-timestamp": "1767225600",
                "webhook-signature": "v1,bQIVDFhDP5ba7Cer5dyYT6rV979AWDkBakeSprPVcG0=",
            },
        ),
        (SQUARE, {SQUARE.header: "gtiiL3FBDLYRkCkC4mFMSVcutWFXfMyOJIrpxYhHEos="}),
        (SHOPIFY, {SHOPIFY.header: "SUMLoSoN28iVLgqemPIaNf7nAeYWNTY80RdO6rX6MGA="}),
        (DELIVERECT, {DELIVERECT.header: "49430ba12a0ddbc8952e0a9e98f21a35fee701e61635363cd1174eeab5fa3060"}),
        (TOAST, {TOAST.header: "addWk0WCMbiBxRju8Du4kptEbGIkNku7+IbVsCsMORU=", "x-timestamp": "2026-01-01T00:00:00.000Z"}),
    ],
    ids=["standard webhooks", "square", "shopify", "deliverect", "toast"],
)
def test_every_published_vector_holds_and_with_one_byte_more_does_not(proof, headers):
    call, secrets = Call("stock", BODY, headers, NOW, url=URL), [KEY.encode()]
    verify(proof, call, ID, secrets)
    for wrong in (replace(call, body=BODY + b"\n"), replace(call, body=BODY[:-1]), replace(call, body=b"")):
        with pytest.raises(Refused):
            verify(proof, wrong, ID, secrets)


@every
def test_what_we_make_we_take_with_any_of_the_live_secrets(proof):
    old = secret_of(proof, b"an older one")
    for secret in (old, secret_of(proof)):
        verify(proof, called(proof, secret), ID, kept(proof, old, secret_of(proof)))


@given(st.binary(min_size=24, max_size=64), st.uuids(), st.text())
def test_the_reference_library_and_we_take_each_others_signatures(secret, id, text):
    theirs, now = Webhook(f"whsec_{base64.b64encode(secret).decode()}"), datetime.now(UTC).replace(microsecond=0)
    ours = prove(STANDARD_WEBHOOKS, shown(STANDARD_WEBHOOKS, secret), ID, "", text.encode(), now, str(id))
    assert theirs.sign(str(id), now, text) == ours["webhook-signature"]
    verify(STANDARD_WEBHOOKS, Call("stock", text.encode(), ours, now), ID, [secret])


def test_the_reference_library_takes_what_we_sign():
    now = datetime.now(UTC)
    secret = shown(STANDARD_WEBHOOKS, bytes(range(32)))
    headers = prove(STANDARD_WEBHOOKS, secret, ID, "", BODY, now, "msg_1")
    assert Webhook(secret).verify(BODY, headers)["type"] == "stock.snapshot"


def test_the_word_before_a_value_may_be_of_either_case():
    for word in ("bearer", "BEARER", "Bearer"):
        token = issue(ID, b"a secret of sixteen", NOW)
        verify(BEARER_ISSUED, Call("stock", b"", {"authorization": f"{word} {token}"}, NOW), ID, [b"a secret of sixteen"])
    pair = base64.b64encode(f"{ID}:a secret of sixteen".encode()).decode()
    verify(BASIC, Call("stock", b"", {"authorization": f"bAsIc {pair}"}, NOW), ID, [b"a secret of sixteen"])


# ---------------------------------------------------------------- what does not


@every
def test_a_source_without_secrets_refuses_everything(proof):
    for none in ([], [b""]):
        with pytest.raises(Refused):
            verify(proof, called(proof), ID, none)
    assert not problems(proof)


def test_without_a_proof_nothing_is_proven():
    for proof in EVERY.values():
        with pytest.raises(Refused):
            verify(None, called(proof), ID, kept(proof, secret_of(proof)))


def test_an_empty_secret_proves_nothing_even_to_who_signs_with_it():
    digest = base64.b64encode(hmac.digest(b"", BODY, "sha256")).decode()
    with pytest.raises(Refused):
        verify(SHOPIFY, Call("stock", BODY, {SHOPIFY.header: digest}, NOW), ID, [b""])


@every
def test_another_secret_is_refused(proof):
    refused(proof, called(proof), secret_of(proof, b"another"))


@every
def test_nothing_said_is_refused(proof):
    refused(proof, Call("stock", BODY, {}, NOW, url=URL))
    call = called(proof)
    refused(proof, replace(call, headers=dict.fromkeys(call.headers, ""), token=""))


@every
def test_a_part_of_it_and_twice_of_it_are_refused(proof):
    call = called(proof)
    if proof.strategy is Strategy.URL_TOKEN:
        values = {"token": call.token}
    else:
        name = "webhook-signature" if proof is STANDARD_WEBHOOKS else proof.header or "authorization"
        values = {name: call.headers[name]}
    for name, value in values.items():
        for wrong in (value[:-1], value[:-4], value[:-8], value + value, f"{value}, {value}", f"{value} ", value + "\0", value[1:]):
            given = replace(call, token=wrong) if name == "token" else replace(call, headers={**call.headers, name: wrong})
            if wrong == f"{value} " and proof is STANDARD_WEBHOOKS:
                continue  # a list with nothing after the blank
            refused(proof, given)


@signing
def test_other_bytes_are_refused(proof):
    call = called(proof)
    for body in (call.body + b" ", call.body[:-1], b"", b"{}", call.body.replace(b"stock", b"Stock")):
        refused(proof, replace(call, body=body))


@pytest.mark.parametrize("proof", [PREFIXED, OLD, DOTTED, STANDARD_WEBHOOKS])
def test_a_signature_of_another_version_is_refused(proof):
    call = called(proof)
    name = proof.header or "webhook-signature"
    value = call.headers[name]
    mark = proof.prefix or "v1,"
    for other in ("", "v2,", "v2=", "v1a,", "sha256=", " "):
        refused(proof, replace(call, headers={**call.headers, name: other + value[len(mark) :]}))


@timed
def test_what_is_late_or_early_by_more_than_five_minutes_is_refused(proof):
    for late in (timedelta(seconds=301), -timedelta(seconds=301), timedelta(days=400)):
        refused(proof, called(proof, at=NOW - late))
    for late in (timedelta(seconds=299), -timedelta(seconds=299)):
        verify(proof, called(proof, at=NOW - late), ID, kept(proof, secret_of(proof)))


@pytest.mark.parametrize(
    "at", ["", "soon", "2026-01-01T00:00:00", "9" * 400, "１７６７２２５６００", "nan", "-1767225600", "1767225600.0"]
)
def test_a_time_that_is_none_is_refused(at):
    secret = secret_of(TOAST)
    digest = base64.b64encode(hmac.digest(secret.encode(), BODY + at.encode(), "sha256")).decode()
    refused(TOAST, Call("stock", BODY, {TOAST.header: digest, "x-timestamp": at}, NOW))


@pytest.mark.parametrize("at", ["1767225600", "1767225600123", "2026-01-01T05:30:00+05:30", "2026-01-01T00:00:00Z"])
def test_a_time_is_seconds_milliseconds_or_iso_8601_and_signed_as_it_is_written(at):
    secret = secret_of(TOAST)
    digest = base64.b64encode(hmac.digest(secret.encode(), BODY + at.encode(), "sha256")).decode()
    verify(TOAST, Call("stock", BODY, {TOAST.header: digest, "x-timestamp": at}, NOW), ID, kept(TOAST, secret))


@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b'{"timestamp":true}', b'{"timestamp":1.5}', b"[" * 100_000, b"\xff", b"{"])
def test_a_body_without_the_time_that_was_to_be_signed_is_refused(body):
    secret = secret_of(TOAST_ITSELF)
    digest = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
    refused(TOAST_ITSELF, Call("stock", body, {TOAST.header: digest}, NOW))


def test_square_signs_the_url_and_another_url_is_another_text():
    call = called(SQUARE)
    for url in (URL + "?", URL + "/", URL.replace("https", "http"), ""):
        refused(SQUARE, replace(call, url=url))


def test_of_hex_only_hex_will_do():
    call = called(DELIVERECT)
    value = call.headers[DELIVERECT.header]
    verify(DELIVERECT, replace(call, headers={DELIVERECT.header: value.upper()}), ID, kept(DELIVERECT, secret_of(DELIVERECT)))
    for wrong in (base64.b64encode(bytes.fromhex(value)).decode(), f"{value[:2]} {value[2:]}", f"0x{value}"):
        refused(DELIVERECT, replace(call, headers={DELIVERECT.header: wrong}))


def test_a_name_that_is_not_the_sources_is_refused():
    for proof in (BASIC, APIKEY, BEARER_ISSUED):
        refused(proof, called(proof, source_id=ANOTHER))
    refused(NAMED, called(BASIC))


@given(st.sampled_from(list(EVERY.values())), st.data())
def test_no_call_however_broken_raises_anything_but_the_refusal(proof, data):
    names = [*proof.told_in, proof.timestamp_header, proof.id_header, "webhook-id", "webhook-timestamp", "authorization"]
    headers = data.draw(st.dictionaries(st.sampled_from(sorted(filter(None, names))), st.text(st.characters(), max_size=80)))
    token = data.draw(st.none() | st.text(max_size=50))
    refused(proof, Call("stock", data.draw(st.binary(max_size=60)), headers, NOW, url=URL, token=token))


# ---------------------------------------------------------------- tokens of ours


def test_a_token_is_given_for_a_live_secret_and_ends_with_it_or_with_its_time():
    old, new = b"the older of the two", b"the newer of the two"
    by_old, by_new = (issued_for(ID, secret.decode(), [new, old], NOW) for secret in (old, new))

    def held(token: str, *secrets: bytes, after: timedelta = timedelta(), source_id: UUID = ID) -> bool:
        call = Call("stock", b"", {"authorization": f"Bearer {token}"}, NOW + after)
        try:
            verify(BEARER_ISSUED, call, source_id, secrets)
        except Refused:
            return False
        return True

    assert held(by_old, new, old)
    assert held(by_new, new, old)
    assert held(by_new, new)
    assert not held(by_old, new)
    assert not held(by_new, new, source_id=ANOTHER)
    assert held(by_new, new, after=timedelta(seconds=TOKEN_S - 1))
    assert not held(by_new, new, after=timedelta(seconds=TOKEN_S))
    assert named_by(by_new) == ID


@pytest.mark.parametrize("password", ["", "the newer", "the newer of the two ", "THE NEWER OF THE TWO", "\ud800"])
def test_for_a_wrong_password_no_token_is_given(password):
    for secrets in ([b"the newer of the two"], [], [b""]):
        with pytest.raises(Refused) as no:
            issued_for(ID, password, secrets, NOW)
        assert no.value.refusal == Unauthenticated("the signature does not match")


def test_a_token_that_was_changed_is_none():
    secret = b"a secret of sixteen"
    token = issue(ID, secret, NOW)
    for index in range(len(token)):
        other = "A" if token[index] != "A" else "B"
        call = Call("stock", b"", {"authorization": f"Bearer {token[:index]}{other}{token[index + 1 :]}"}, NOW)
        with pytest.raises(Refused):
            verify(BEARER_ISSUED, call, ID, [secret])


@pytest.mark.parametrize("token", [None, "", "x", "not base64 at all", "\ud800", "AAAA", "é"])
def test_what_is_no_token_names_nobody(token):
    assert named_by(token) is None


# ---------------------------------------------------------------- told again


@timed
def test_what_is_good_for_minutes_is_known_again_by_an_id_of_its_own(proof):
    first, later = called(proof), called(proof, at=NOW + timedelta(seconds=1))
    assert replay_key(proof, first) == replay_key(proof, first) is not None
    by_id = proof is STANDARD_WEBHOOKS or proof is DOTTED
    assert (replay_key(proof, first) == replay_key(proof, later)) is by_id  # sent again, it has another time and the same id


def test_what_has_no_time_has_none():
    assert [name for name, proof in EVERY.items() if replay_key(proof, called(proof)) is not None] == list(TIMED)


def test_an_id_of_any_length_is_a_key_an_index_takes():
    keys = {replay_key(STANDARD_WEBHOOKS, Call("stock", b"", {"webhook-id": id}, NOW)) for id in ("x" * 9000, "y" * 9000, "a\0b")}
    assert len(keys) == 3
    assert all(key and len(key) < 100 and key.isprintable() for key in keys)


class _Nameless(Wms):
    """Of a provider that gives its news no id."""

    def event_id(self, call: Call) -> str | None:
        return None


@timed
def test_the_reading_of_a_timed_call_has_an_id_whatever_its_provider_says(proof):
    source = Source(ID, ID, "wms", Wms.family, {}, kept(proof, secret_of(proof)), proof=proof)
    body = b'{"type":"store.status","timestamp":"2026-01-01T00:00:00Z","data":{"location":"A","open":true}}'
    headers = prove(proof, secret_of(proof), ID, URL, body, NOW, "msg_1")
    reading = read(_Nameless(), Call("stock", body, headers, NOW, url=URL), source)
    assert reading.wrong is None
    assert reading.event_id == replay_key(proof, Call("stock", body, headers, NOW, url=URL))
    large = body.replace(b'"open"', b'"padding":"' + b"x" * 300_000 + b'","open"')
    headers = prove(proof, secret_of(proof), ID, URL, large, NOW, "msg_2")
    reading = read(_Nameless(), Call("stock", large, headers, NOW, url=URL), source)
    assert (reading.translated, reading.event_id is not None) == (False, True)


def test_a_provider_is_not_asked_about_a_call_that_is_not_proven():
    class Asked(Wms):
        def verify(self, call: Call, source: Source) -> None:
            raise AssertionError

    source = Source(ID, ID, "wms", Wms.family, {}, [b"x" * 32], proof=STANDARD_WEBHOOKS)
    reading = read(Asked(), Call("stock", BODY, {}, NOW), source)
    assert reading.wrong is not None
    assert reading.wrong.kind is FailureKind.AUTH


# ---------------------------------------------------------------- as it is set


@pytest.mark.parametrize(
    ("proof", "path"),
    [
        (Proof(Strategy.HMAC_HEADER), "header"),
        (Proof(Strategy.STATIC_HEADER), "header"),
        (Proof(Strategy.STATIC_HEADER, "two words"), "header"),
        (Proof(Strategy.STATIC_HEADER, "x" * 101), "header"),
        (replace(HEADER, prefix="a\nb"), "prefix"),
        (replace(HEADER, prefix="x" * 101), "prefix"),
        (replace(BASIC, username="a:b"), "username"),
        (replace(TOAST, timestamp_header=""), "timestampHeader"),
        (replace(TOAST, timestamp_field="timestamp"), "timestampHeader"),
        (replace(DOTTED, id_header=""), "idHeader"),
        (replace(SHOPIFY, timestamp_header="x-at"), "signed"),
        (replace(URL_TOKEN, timestamp_field="at"), "signed"),
    ],
)
def test_what_is_wrong_with_a_proof_is_told_by_its_path(proof, path):
    assert [one.path for one in problems(proof)] == [f"proof.{path}"]


def test_names_of_headers_are_kept_in_lower_case():
    assert lower(replace(SHOPIFY, header=" X-Shopify-Hmac-Sha256 ")) == SHOPIFY


def test_a_secret_of_standard_webhooks_is_one_or_is_refused():
    for broken in ("whsec_", "whsec_!!", "sixteen characters of a password"):
        with pytest.raises(ValueError, match="a secret"):
            key_of(STANDARD_WEBHOOKS, broken)


def test_nothing_secret_stands_in_what_is_logged():
    call, source = called(URL_TOKEN), Source(ID, ID, "wms", Wms.family, {}, [b"tell-nobody"], proof=URL_TOKEN)
    assert call.token not in repr(call)
    assert "tell-nobody" not in repr(source)
