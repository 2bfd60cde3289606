"""Blobs in a bucket: S3 and what speaks like it, Google's, Azure's."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import from_url

from adapters.blobs import TIMEOUT_S, answered


class BucketBlobs:
    """A bucket, or what lies below a prefix of it. `config` and `client` are options of obstore's own."""

    def __init__(self, url: str, config: Any = None, **client: Any) -> None:
        patience = timedelta(seconds=TIMEOUT_S)
        options: Any = {"timeout": patience, "connect_timeout": patience, **client}
        self._store = from_url(
            url, config=config, client_options=options, retry_config={"max_retries": 2, "retry_timeout": patience}
        )

    async def put(self, key: str, data: bytes) -> None:
        await answered("put", lambda: self._store.put_async(key, data, use_multipart=False), BaseError)

    async def get(self, key: str) -> bytes | None:
        return await answered("get", lambda: self._get(key), BaseError)

    async def delete(self, key: str) -> None:
        await answered("delete", lambda: self._delete(key), BaseError)

    async def _get(self, key: str) -> bytes | None:
        try:
            found = await self._store.get_async(key)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None

    async def _delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            await self._store.delete_async(key)
