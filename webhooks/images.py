"""Our copies of products' pictures, each under the hash of what it is: `/v1/images/{hash}`. What lies there never changes."""

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from db.pictures import image_of
from db.reads import Reads
from domain.blobs import Blobs
from domain.pictures import IMAGES
from domain.refusals import Refused

log = logging.getLogger("haat.images")
HASH = re.compile(r"[0-9a-f]{64}")
YEAR_S = 31_536_000
RETRY_AFTER_S = 5
ALWAYS = {
    "cache-control": f"public, max-age={YEAR_S}, immutable",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",  # whatever it is taken for, it runs nothing
    "cross-origin-resource-policy": "cross-origin",
}


@dataclass(frozen=True)
class ImageDoor:
    reads: Reads
    blobs: Blobs

    def routes(self) -> list[Route]:
        return [Route(IMAGES + "/{hash}", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        hash = request.path_params["hash"]
        if not HASH.fullmatch(hash):
            return _none()
        headers = {**ALWAYS, "etag": f'"{hash}"'}
        if f'"{hash}"' in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        try:
            found = await image_of(self.reads, hash)
            data = await self.blobs.get(found.blob) if found is not None else None
        except Refused:
            return PlainTextResponse("try again later", 503, {"retry-after": str(RETRY_AFTER_S), "cache-control": "no-store"})
        if found is None:
            return _none()
        if data is None or (await asyncio.to_thread(hashlib.sha256, data)).hexdigest() != hash:
            log.error("the blob of an image is gone, or is another: %s", found.blob)
            return _none()
        return Response(data, media_type=found.content_type, headers=headers)


def _none() -> Response:
    return PlainTextResponse("not found", 404, {"cache-control": "no-store"})
