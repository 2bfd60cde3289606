"""A host of pictures, as sources' hosts are: some are slow, gone, too large, no pictures, or somewhere else."""

import asyncio
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PNG = b"\x89PNG\r\n\x1a\n"
SHAPES = {
    "jpg": b"\xff\xd8\xff\xe0",
    "png": PNG,
    "gif": b"GIF89a",
    "webp": b"RIFF\x00\x00\x00\x00WEBP",
    "avif": b"\0\0\0\x1cftypavif",
}


@dataclass
class Pictures:
    """`answers` are used up, each path's own; then it is 404. `asked` are paths with their queries, as they were written."""

    answers: dict[str, list[Response | bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    at_once = most_at_once = 0
    slow_s = 0.0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.show)])

    def put(self, path: str, *answers: Response | bytes) -> None:
        self.answers[path] = list(answers)

    async def show(self, request: Request) -> Response:
        query = request.scope["query_string"].decode()
        raw = request.scope["raw_path"].decode()
        self.asked.append(f"{raw}?{query}" if query else raw)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.slow_s)
        finally:
            self.at_once -= 1
        waiting = self.answers.get(request.path_params["path"])
        if not waiting:
            return Response(status_code=404)
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return Response(answer, media_type="application/octet-stream") if isinstance(answer, bytes) else answer
