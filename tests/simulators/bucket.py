"""S3, as far as one bucket of it goes: put, get, delete of many at once. Whoever signs is believed."""

import asyncio
import hashlib
import re
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

GONE = '<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>'


@dataclass
class Bucket:
    """`status` is what it answers instead; `hangs`: nothing."""

    held: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    status: int = 0
    hangs: bool = False

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.serve, methods=["GET", "PUT", "POST"])])

    async def serve(self, request: Request) -> Response:
        path = request.path_params["path"]
        self.calls.append(f"{request.method} {path}")
        assert "Signature=" in request.headers["authorization"]
        data = await request.body()
        if self.hangs:
            await asyncio.sleep(60)
        if self.status:
            return Response(status_code=self.status)
        if request.method == "PUT":
            self.held[path] = data
            return Response(headers={"etag": f'"{hashlib.sha256(data).hexdigest()}"'})
        if request.method == "POST":
            assert "delete" in request.query_params
            keys = re.findall(r"<Key>([^<]*)</Key>", data.decode())
            for key in keys:
                self.held.pop(f"{path}/{key}", None)
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return Response(f'<?xml version="1.0"?><DeleteResult>{gone}</DeleteResult>', media_type="application/xml")
        if path not in self.held:
            return Response(GONE, 404, media_type="application/xml")
        found = self.held[path]
        headers = {"etag": f'"{hashlib.sha256(found).hexdigest()}"', "last-modified": "Sat, 21 Nov 2026 10:00:00 GMT"}
        return Response(found, headers=headers, media_type="application/octet-stream")
