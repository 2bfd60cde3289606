"""Secrets at rest, and digests under a key of ours."""

import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.refusals import Refused, Unavailable

KEY_BYTES, NONCE_BYTES, MARK_BYTES = 32, 12, 4
VERSION = b"\x01"


def _derived(key: bytes, purpose: str) -> bytes:
    """One key of the settings serves several purposes, none of which tells anything of another."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a sealing key has {KEY_BYTES} bytes")
    return hmac.digest(key, f"haat:{purpose}".encode(), "sha256")


class AesSeals:
    """AES-256-GCM: version, mark of the key, nonce, ciphertext. The first key seals, all open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("there is one sealing key at least")
        derived = [_derived(key, "seal") for key in keys]
        self._ciphers = {hashlib.sha256(key).digest()[:MARK_BYTES]: AESGCM(key) for key in derived}
        self._mark = next(iter(self._ciphers))

    def seal(self, secret: bytes) -> bytes:
        head, nonce = VERSION + self._mark, os.urandom(NONCE_BYTES)
        return head + nonce + self._ciphers[self._mark].encrypt(nonce, secret, head)

    def open(self, sealed: bytes) -> bytes:
        head, nonce, rest = sealed[:5], sealed[5 : 5 + NONCE_BYTES], sealed[5 + NONCE_BYTES :]
        try:
            if head[:1] != VERSION:
                raise ValueError("of another making")
            return self._ciphers[head[1:]].decrypt(nonce, rest, head)
        except (KeyError, ValueError, InvalidTag) as error:
            raise Refused(Unavailable("a secret cannot be opened: its key is not among ours")) from error


class HmacDigests:
    """HMAC-SHA-256 under the same keys, the newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("there is one sealing key at least")
        self._keys = [_derived(key, "digest") for key in keys]

    def digests(self, purpose: str, text: str) -> Sequence[bytes]:
        said = f"{purpose}\0{text}".encode(errors="replace")
        return [hmac.digest(key, said, "sha256") for key in self._keys]
