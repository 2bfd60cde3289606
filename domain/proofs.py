"""How a call shows whose it is: a strategy and its parameters, for a provider or for one source of it.

Square, Shopify, Toast and Deliverect differ in header, text and encoding alone: they are four values of HMAC_HEADER. Whatever
is wrong is one and the same refusal, and where nothing is configured nothing is proven.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING
from uuid import UUID

from domain import signatures
from domain.refusals import Problem
from domain.signatures import PREFIX, TOLERANCE_S, unproven

if TYPE_CHECKING:
    from domain.intake import Call


class Strategy(Enum):
    STANDARD_WEBHOOKS = "STANDARD_WEBHOOKS"  # webhook-id, webhook-timestamp, webhook-signature
    HMAC_HEADER = "HMAC_HEADER"  # a header holds a MAC of what `signed` says
    STATIC_HEADER = "STATIC_HEADER"  # a header holds the secret itself
    BASIC = "BASIC"  # user and password, the secret being the password
    BEARER_ISSUED = "BEARER_ISSUED"  # a token that we gave for the secret a while ago
    URL_TOKEN = "URL_TOKEN"  # the secret is a segment of the URL


class Encoding(Enum):
    BASE64 = "BASE64"
    HEX = "HEX"


class Algorithm(Enum):
    SHA256 = "SHA256"
    SHA1 = "SHA1"  # for who knows no other
    SHA512 = "SHA512"


class Signed(Enum):
    """What the MAC is of, the raw bytes always among it."""

    BODY = "BODY"
    URL_BODY = "URL_BODY"  # the full URL as called, then the body
    BODY_TIMESTAMP = "BODY_TIMESTAMP"  # the body, then the time as it is written
    ID_TIMESTAMP_BODY = "ID_TIMESTAMP_BODY"  # id.timestamp.body


TIMED = frozenset({Signed.BODY_TIMESTAMP, Signed.ID_TIMESTAMP_BODY})
NEEDS_HEADER = frozenset({Strategy.HMAC_HEADER, Strategy.STATIC_HEADER})
SOURCE = "{source}"  # in a prefix: the source's own id


@dataclass(frozen=True)
class Proof:
    """`prefix` stands before the value in its header: `v1=`, or `apikey {source}:` where the source's id is told too.

    A signed time is in `timestamp_header`, or in `timestamp_field` of the body's top level.
    """

    strategy: Strategy
    header: str = ""  # in lower case
    prefix: str = ""
    encoding: Encoding = Encoding.BASE64
    algorithm: Algorithm = Algorithm.SHA256
    signed: Signed = Signed.BODY
    timestamp_header: str = ""
    timestamp_field: str = ""
    id_header: str = ""
    username: str = ""  # of BASIC; empty: the source's id

    @property
    def timed(self) -> bool:
        """Whether a call is only good for a while, and so must be known again for longer than that."""
        return self.strategy is Strategy.STANDARD_WEBHOOKS or (self.strategy is Strategy.HMAC_HEADER and self.signed in TIMED)

    @property
    def told_in(self) -> frozenset[str]:
        """The headers that nobody may read afterwards."""
        own = {self.header} if self.header else set()
        return frozenset(own | _TOLD_IN.get(self.strategy, set()))


_TOLD_IN = {
    Strategy.STANDARD_WEBHOOKS: {"webhook-signature"},
    Strategy.BASIC: {"authorization"},
    Strategy.BEARER_ISSUED: {"authorization"},
}
STANDARD_WEBHOOKS = Proof(Strategy.STANDARD_WEBHOOKS)
URL_TOKEN = Proof(Strategy.URL_TOKEN)
BASIC = Proof(Strategy.BASIC)
BEARER_ISSUED = Proof(Strategy.BEARER_ISSUED)


# ---------------------------------------------------------------- what is wrong with one

_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PRINTABLE = re.compile(r"[ -~]*")
PREFIX_CHARACTERS = 100
NAME_CHARACTERS = 200
ID_CHARACTERS = 200


def lower(proof: Proof) -> Proof:
    """As it is kept: the names of headers in lower case."""
    return replace(
        proof,
        header=proof.header.strip().lower(),
        timestamp_header=proof.timestamp_header.strip().lower(),
        id_header=proof.id_header.strip().lower(),
    )


def problems(proof: Proof) -> Sequence[Problem]:
    """What it lacks, or says where it means nothing, each by its path."""
    found: list[Problem] = []

    def wrong(path: str, message: str) -> None:
        found.append(Problem(f"proof.{path}", message))

    for path, name in (("header", proof.header), ("timestampHeader", proof.timestamp_header), ("idHeader", proof.id_header)):
        if name and not _HEADER.fullmatch(name):
            wrong(path, "is no name of a header")
    if proof.strategy in NEEDS_HEADER and not proof.header:
        wrong("header", "is needed: which one holds the value?")
    if len(proof.prefix) > PREFIX_CHARACTERS or not _PRINTABLE.fullmatch(proof.prefix):
        wrong("prefix", f"is at most {PREFIX_CHARACTERS} printable characters")
    if len(proof.username) > NAME_CHARACTERS or not _PRINTABLE.fullmatch(proof.username) or ":" in proof.username:
        wrong("username", f"is at most {NAME_CHARACTERS} printable characters without a colon")
    signs = proof.strategy is Strategy.HMAC_HEADER
    if signs and proof.signed in TIMED and bool(proof.timestamp_header) == bool(proof.timestamp_field):
        wrong("timestampHeader", "or timestampField is needed, one of the two: where is the time?")
    if signs and proof.signed is Signed.ID_TIMESTAMP_BODY and not proof.id_header:
        wrong("idHeader", "is needed: which one holds the id?")
    if not (signs and proof.signed in TIMED) and (proof.timestamp_header or proof.timestamp_field):
        wrong("signed", "has no time in it")
    if len(proof.timestamp_field) > NAME_CHARACTERS:
        wrong("timestampField", f"is at most {NAME_CHARACTERS} characters")
    return found


# ---------------------------------------------------------------- secrets


def key_of(proof: Proof, shown: str) -> bytes:
    """What a secret is, of how people copy it. ValueError for what is none."""
    return signatures.secret_bytes(shown) if proof.strategy is Strategy.STANDARD_WEBHOOKS else shown.encode()


def shown(proof: Proof, made: bytes) -> str:
    """A secret of ours as people copy it: `whsec_…` of Standard Webhooks, else what fits a URL and a header."""
    if proof.strategy is Strategy.STANDARD_WEBHOOKS:
        return PREFIX + base64.b64encode(made).decode()
    return _url_safe(made)


def token_hash(token: str) -> bytes:
    """By which a URL's token is found: of the token itself nothing is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


# ---------------------------------------------------------------- the check


def verify(proof: Proof | None, call: "Call", source_id: UUID, secrets: Sequence[bytes]) -> None:
    """Over the raw bytes, in constant time over all live secrets (of URL_TOKEN: their hashes).

    Refuses Unauthenticated, and nothing else ever: no secret, no proof and bytes nobody thought of are refused alike.
    """
    live = [secret for secret in secrets if secret]
    try:
        holds = proof is not None and bool(live) and _HOLDS[proof.strategy](proof, call, source_id, live)
    except Exception:  # a hole nobody has found yet must not be a way in
        holds = False
    if not holds:
        raise unproven()


def replay_key(proof: Proof | None, call: "Call") -> str | None:
    """By which a timed call is known again, where its provider gives its news no id: for days, where it is good for minutes."""
    if proof is None or not proof.timed:
        return None
    if proof.strategy is Strategy.STANDARD_WEBHOOKS:
        return _short("webhook-id", call.headers.get("webhook-id", ""))
    if proof.signed is Signed.ID_TIMESTAMP_BODY:
        return _short(proof.id_header, call.headers.get(proof.id_header, ""))
    signed = _signed(proof, call.headers, call.body, call.url)
    return None if signed is None else f"signed:{hashlib.sha256(signed).hexdigest()}"


def _short(name: str, id: str) -> str:
    """A key that an index takes, however long and odd the id is."""
    plain = len(id) <= ID_CHARACTERS and id.isprintable()
    return f"{name}:{id if plain else hashlib.sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _standard_webhooks(proof: Proof, call: "Call", source_id: UUID, secrets: Sequence[bytes]) -> bool:
    if any(", " in call.headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")):
        return False  # a header that comes twice says two things
    signatures.verify(secrets, call.headers, call.body, call.received_at)
    return True


def _hmac_header(proof: Proof, call: "Call", source_id: UUID, secrets: Sequence[bytes]) -> bool:
    given = _digest_of(proof, _value(proof, call.headers, source_id))
    signed = _signed(proof, call.headers, call.body, call.url)
    if given is None or signed is None or not _timely(proof, call):
        return False
    return _one_of(given, [_mac(proof, secret, signed) for secret in secrets])


def _static_header(proof: Proof, call: "Call", source_id: UUID, secrets: Sequence[bytes]) -> bool:
    value = _value(proof, call.headers, source_id)
    return value is not None and _is_one_of(value, secrets)


def _basic(proof: Proof, call: "Call", source_id: UUID, secrets: Sequence[bytes]) -> bool:
    value = _value(replace(proof, header=proof.header or "authorization", prefix="basic "), call.headers, source_id)
    if value is None:
        return False
    username, colon, password = _from_base64(value).decode().partition(":")
    right = hmac.compare_digest(_whole(username), _whole(proof.username or str(source_id)))
    return _is_one_of(password, secrets) and right and bool(colon)


def _bearer_issued(proof: Proof, call: "Call", source_id: UUID, secrets: Sequence[bytes]) -> bool:
    token = bearer(proof, call.headers)
    return token is not None and _is_token(token, source_id, secrets, call.received_at)


def _url_token(proof: Proof, call: "Call", source_id: UUID, secrets: Sequence[bytes]) -> bool:
    if not call.token:
        return False
    return _one_of(token_hash(call.token), secrets)


_HOLDS: Mapping[Strategy, Callable[[Proof, "Call", UUID, Sequence[bytes]], bool]] = {
    Strategy.STANDARD_WEBHOOKS: _standard_webhooks,
    Strategy.HMAC_HEADER: _hmac_header,
    Strategy.STATIC_HEADER: _static_header,
    Strategy.BASIC: _basic,
    Strategy.BEARER_ISSUED: _bearer_issued,
    Strategy.URL_TOKEN: _url_token,
}


# ---------------------------------------------------------------- tokens of ours

TOKEN_S = 86_400
_EXPIRY_BYTES = 8


def issue(source_id: UUID, secret: bytes, now: datetime) -> str:
    """A token for who has shown this secret. It needs no row, ends with the secret, and is good for TOKEN_S."""
    told = source_id.bytes + (int(now.timestamp()) + TOKEN_S).to_bytes(_EXPIRY_BYTES, "big")
    return _url_safe(told + _token_mac(secret, told))


def issued_for(source_id: UUID, password: str, secrets: Sequence[bytes], now: datetime) -> str:
    """Refuses Unauthenticated."""
    given, found = _whole(password), None
    for secret in secrets:
        if hmac.compare_digest(given, hashlib.sha256(secret).digest()) and secret:
            found = secret
    if found is None:
        raise unproven()
    return issue(source_id, found, now)


def bearer(proof: Proof, headers: Mapping[str, str]) -> str | None:
    """In its own header or as a bearer's, with the word or without."""
    value = headers.get(proof.header or "authorization") or headers.get("authorization")
    if not value:
        return None
    word = len("bearer ")
    return value[word:] if value[:word].lower() == "bearer " else value


def named_by(token: str | None) -> UUID | None:
    """The source that a token of ours names, whether it holds or not."""
    try:
        return UUID(bytes=_from_url_safe(token or "")[:16])
    except ValueError:
        return None


def _is_token(token: str, source_id: UUID, secrets: Sequence[bytes], now: datetime) -> bool:
    try:
        raw = _from_url_safe(token)
    except ValueError:
        return False
    told, mac = raw[: 16 + _EXPIRY_BYTES], raw[16 + _EXPIRY_BYTES :]
    if len(mac) != hashlib.sha256().digest_size:
        return False
    signed = _one_of(mac, [_token_mac(secret, told) for secret in secrets])
    expires_s = int.from_bytes(told[16:], "big")
    return signed and told[:16] == source_id.bytes and now.timestamp() < expires_s


def _token_mac(secret: bytes, told: bytes) -> bytes:
    return hmac.digest(secret, b"haat bearer\0" + told, "sha256")


# ---------------------------------------------------------------- the other side


def prove(proof: Proof, secret: str, source_id: UUID, url: str, body: bytes, now: datetime, message_id: str = "") -> dict[str, str]:
    """The headers by which a provider would show whose call this is. `secret` as people copy it.

    ValueError where the time is to be signed that a field of the body tells, and the body has none.
    """
    at = str(int(now.timestamp()))
    match proof.strategy:
        case Strategy.STANDARD_WEBHOOKS:
            signature = signatures.sign(key_of(proof, secret), message_id, int(at), body)
            return {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": signature}
        case Strategy.HMAC_HEADER:
            headers = {name: value for name, value in ((proof.timestamp_header, at), (proof.id_header, message_id)) if name}
            signed = _signed(proof, headers, body, url)
            if signed is None:
                raise ValueError(f"there is no {proof.timestamp_field or proof.timestamp_header or proof.id_header} to sign")
            digest = _mac(proof, key_of(proof, secret), signed)
            value = digest.hex() if proof.encoding is Encoding.HEX else base64.b64encode(digest).decode()
            return {**headers, proof.header: _prefix(proof, source_id) + value}
        case Strategy.STATIC_HEADER:
            return {proof.header: _prefix(proof, source_id) + secret}
        case Strategy.BASIC:
            pair = f"{proof.username or source_id}:{secret}".encode()
            return {proof.header or "authorization": f"Basic {base64.b64encode(pair).decode()}"}
        case Strategy.BEARER_ISSUED:
            token = issue(source_id, key_of(proof, secret), now)
            return {proof.header: token} if proof.header else {"authorization": f"Bearer {token}"}
        case Strategy.URL_TOKEN:
            return {}


# ---------------------------------------------------------------- parts


def _prefix(proof: Proof, source_id: UUID) -> str:
    return proof.prefix.replace(SOURCE, str(source_id))


def _value(proof: Proof, headers: Mapping[str, str], source_id: UUID) -> str | None:
    """What stands behind the prefix, whose letters may be of either case: `Basic`, `basic`."""
    value, prefix = headers.get(proof.header, ""), _prefix(proof, source_id)
    if value[: len(prefix)].lower() != prefix.lower():
        return None
    return value[len(prefix) :] or None


def _mac(proof: Proof, secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, signed, proof.algorithm.value.lower())


def _digest_of(proof: Proof, value: str | None) -> bytes | None:
    if value is None:
        return None
    size = hashlib.new(proof.algorithm.value.lower(), usedforsecurity=False).digest_size
    try:
        raw = _from_base64(value) if proof.encoding is Encoding.BASE64 else bytes.fromhex(value)
    except ValueError:
        return None
    whole = len(value) == 2 * size or proof.encoding is Encoding.BASE64  # fromhex() reads over blanks
    return raw if len(raw) == size and whole else None


def _signed(proof: Proof, headers: Mapping[str, str], body: bytes, url: str) -> bytes | None:
    """None where a part of it is missing."""
    match proof.signed:
        case Signed.BODY:
            return body
        case Signed.URL_BODY:
            return url.encode() + body if url else None
        case Signed.BODY_TIMESTAMP:
            at = _timestamp(proof, headers, body)
            return body + at.encode() if at else None
        case Signed.ID_TIMESTAMP_BODY:
            at, id = _timestamp(proof, headers, body), headers.get(proof.id_header)
            return b".".join((id.encode(), at.encode(), body)) if at and id else None


def _timestamp(proof: Proof, headers: Mapping[str, str], body: bytes) -> str | None:
    """As it is written."""
    if proof.timestamp_header:
        return headers.get(proof.timestamp_header)
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    value = told.get(proof.timestamp_field) if isinstance(told, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


_MILLISECONDS_FROM = 10**11  # as a count of seconds that is the year 5138


def _timely(proof: Proof, call: "Call") -> bool:
    """A signed time is good for five minutes before and after: seconds, milliseconds, or ISO 8601 with its zone."""
    if proof.signed not in TIMED:
        return True
    told = _timestamp(proof, call.headers, call.body) or ""
    if told.isascii() and told.isdigit() and len(told) <= 15:
        number = int(told)
        at = number / 1000 if number >= _MILLISECONDS_FROM else float(number)
    else:
        when = datetime.fromisoformat(told)
        at = when.astimezone(UTC).timestamp() if when.tzinfo else float("nan")
    return abs(call.received_at.timestamp() - at) <= TOLERANCE_S


def _is_one_of(value: str, secrets: Sequence[bytes]) -> bool:
    return _one_of(_whole(value), [hashlib.sha256(secret).digest() for secret in secrets])


def _one_of(given: bytes, wanted: Sequence[bytes]) -> bool:
    """All of them are compared, whichever matches: how long it takes says nothing."""
    matches = [hmac.compare_digest(given, one) for one in wanted]
    return any(matches)


def _whole(text: str) -> bytes:
    """As long as any other: how long a secret is stays its own."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _from_base64(text: str) -> bytes:
    """ValueError for what is none."""
    return base64.b64decode(text.encode("ascii"), validate=True)


def _url_safe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _from_url_safe(text: str) -> bytes:
    """ValueError for what is none."""
    raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _url_safe(raw) != text:
        raise ValueError("written otherwise than we write it")
    return raw
