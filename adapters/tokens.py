"""Access tokens of our own making: EdDSA, ten minutes, for one app."""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.identity import Actor, ActorKind, App
from domain.refusals import Refused, Unauthenticated
from domain.sessions import Claims

LASTS_S = 600
LEEWAY_S = 5
LONGEST = 2_048  # characters; ours have some 450
SEED_BYTES = 32
ALGORITHM, KIND = "EdDSA", "at+jwt"
NUMBERS = ("iat", "nbf", "exp")
AUDIENCES = {app: f"haat:{app.value.lower()}" for app in App}
APPS = {audience: app for app, audience in AUDIENCES.items()}


class JwtTokens:
    """`seeds` are the keys that are live: the first signs, all verify. `retiring` are public keys (raw, 32 bytes) whose
    private half is gone and whose tokens still live.
    """

    def __init__(
        self,
        seeds: Sequence[bytes],
        issuer: str,
        *,
        retiring: Sequence[bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not seeds or any(len(seed) != SEED_BYTES for seed in seeds):
            raise ValueError(f"a signing key has {SEED_BYTES} bytes, and there is one at least")
        private = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
        public = [key.public_key() for key in private] + [Ed25519PublicKey.from_public_bytes(raw) for raw in retiring]
        self._key, self._kid = private[0], kid_of(public[0])
        self._keys = {kid_of(key): key for key in public}
        self._issuer = issuer
        self._clock = clock
        self._jwt = jwt.PyJWT({"enforce_minimum_key_length": True})

    def mint(self, actor: Actor) -> tuple[str, datetime]:
        if actor.kind is None or actor.id is None or actor.session_id is None:
            raise ValueError("a token is for a signed-in user")
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCES[App(actor.kind.value)],
            "sub": str(actor.id),
            "sid": str(actor.session_id),
            "role": actor.kind.value,
            "iat": now,
            "nbf": now,
            "exp": now + LASTS_S,
            "jti": str(uuid4()),
        }
        token = self._jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid, "typ": KIND})
        return token, datetime.fromtimestamp(now + LASTS_S, UTC)

    def read(self, token: str) -> Claims:
        """Refuses Unauthenticated, without saying why: the reason helps only an attacker."""
        try:
            return self._read(token)
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Refused(Unauthenticated("sign in again")) from error

    def _read(self, token: str) -> Claims:
        if len(token) > LONGEST:
            raise ValueError("too long to be ours")
        header = jwt.get_unverified_header(token)
        if header["typ"] != KIND or header["alg"] != ALGORITHM or "crit" in header:
            raise ValueError("not of our making")
        key = self._keys[header["kid"]]  # a key the token brings along, or points to, is nobody's
        # The audience names the app; it is believed only together with the signature, checked below.
        app = APPS[self._unverified(token)["aud"]]
        claims: dict[str, Any] = self._jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=self._issuer,
            audience=AUDIENCES[app],
            # Times are compared below, by our clock and as whole numbers alone.
            options={
                "require": ["iss", "aud", "sub", "sid", "role", "iat", "nbf", "exp", "jti"],
                "strict_aud": True,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        issued, begins, ends = (_whole(claims[name]) for name in NUMBERS)
        now = self._clock()
        if not (issued <= begins <= now + LEEWAY_S and now - LEEWAY_S < ends and 0 < ends - issued <= LASTS_S):
            raise ValueError("not now")
        if claims["role"] != app.value:
            raise ValueError("of another app")
        actor = Actor(ActorKind(app.value), UUID(claims["sub"]), UUID(claims["sid"]))
        return Claims(actor, datetime.fromtimestamp(ends, UTC))

    def _unverified(self, token: str) -> Mapping[str, Any]:
        claims: dict[str, Any] = self._jwt.decode(token, options={"verify_signature": False})
        return claims

    def jwks(self) -> Mapping[str, Any]:
        return {
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": kid, "x": _b64(key.public_bytes_raw())}
                for kid, key in self._keys.items()
            ]
        }


def kid_of(key: Ed25519PublicKey) -> str:
    """RFC 7638's thumbprint: the same key has the same name in every process."""
    members = f'{{"crv":"Ed25519","kty":"OKP","x":"{_b64(key.public_bytes_raw())}"}}'
    return _b64(hashlib.sha256(members.encode()).digest())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _whole(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError("not a whole number")
    return number
