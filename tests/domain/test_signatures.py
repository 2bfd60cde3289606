import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from domain.refusals import Refused, Unauthenticated
from domain.signatures import secret_bytes, sign, verify

SECRET = b"docs-example-key-not-a-secret-01"
BODY = b'{"type":"stock.snapshot","data":{"sku":"TEA-250","available":12}}'
SENT = datetime.fromtimestamp(1767225600, UTC)
VECTOR = "v1,bQIVDFhDP5ba7Cer5dyYT6rV979AWDkBakeSprPVcG0="


def headers(signature: str = VECTOR, message_id: str = "msg_docs_0001", timestamp: str = "1767225600") -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def test_the_published_vector_is_what_we_sign_and_accept():
    assert sign(SECRET, "msg_docs_0001", 1767225600, BODY) == VECTOR
    verify([SECRET], headers(), BODY, SENT)


def test_any_live_secret_and_any_signature_of_the_header_will_do():
    old = b"an-older-secret-still-in-use-for-a-day"
    verify([old, SECRET], headers(), BODY, SENT)
    verify([SECRET], headers(f"v1a,abcd v1,{base64.b64encode(bytes(32)).decode()} {VECTOR}"), BODY, SENT)


@pytest.mark.parametrize(
    ("sent", "body", "now"),
    [
        (headers(), BODY + b" ", SENT),
        (headers(), BODY, SENT + timedelta(seconds=301)),
        (headers(), BODY, SENT - timedelta(seconds=301)),
        (headers(message_id="msg_docs_0002"), BODY, SENT),
        (headers(timestamp="1767225601"), BODY, SENT),
        (headers(timestamp="１７６７２２５６００"), BODY, SENT),
        (headers(timestamp="1767225600.0"), BODY, SENT),
        (headers(timestamp="9" * 5000), BODY, SENT),
        (headers(""), BODY, SENT),
        (headers("v1,"), BODY, SENT),
        (headers("v1,not base64 at all"), BODY, SENT),
        (headers(VECTOR[:-4]), BODY, SENT),
        (headers(VECTOR.replace("v1,", "v2,")), BODY, SENT),
        (headers("v1,\ud800"), BODY, SENT),
        ({}, BODY, SENT),
    ],
)
def test_everything_else_is_one_and_the_same_refusal(sent, body, now):
    with pytest.raises(Refused) as no:
        verify([SECRET], sent, body, now)
    assert no.value.refusal == Unauthenticated("the signature does not match")


def test_no_secret_proves_nothing():
    with pytest.raises(Refused):
        verify([], headers(), BODY, SENT)


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()), st.binary())
def test_no_header_however_broken_raises_anything_but_the_refusal(sent, body):
    with pytest.raises(Refused):
        verify([SECRET], sent, body, SENT)


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), st.text())
def test_it_agrees_with_the_reference_library(secret, message_id, text):
    theirs = Webhook(f"whsec_{base64.b64encode(secret).decode()}")
    now = datetime.now(UTC).replace(microsecond=0)
    ours = sign(secret, message_id, int(now.timestamp()), text.encode())
    assert ours == theirs.sign(message_id, now, text)
    verify([secret], headers(ours, message_id, str(int(now.timestamp()))), text.encode(), now)


def test_a_secret_is_read_with_its_prefix_and_refused_when_it_is_none():
    assert secret_bytes(f"whsec_{base64.b64encode(SECRET).decode()}") == SECRET
    for broken in ("whsec_", "whsec_!!", "whsec_YWJj"):
        with pytest.raises(ValueError, match="a secret"):
            secret_bytes(broken)
