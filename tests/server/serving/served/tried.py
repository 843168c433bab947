"""What a browser can send and show, and what it cannot."""

from collections.abc import Iterator
from typing import Any

from lepton.serve import Response, Service, Upload, WebSocket, handler

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


class Tried(Service):
    """Tried in a browser."""

    @handler
    def size(self, file: Upload, tags: list[str], note: str = "", times: int = 1) -> dict[str, Any]:
        return {"name": file.filename, "size": len(file.content), "tags": tags, "note": note, "times": times}

    @handler
    def perhaps(self, file: Upload | None = None, flag: bool = True) -> list[bool]:
        return [file is not None, flag]

    @handler
    def add(self, x: int, y: int = 2) -> int:
        return x + y

    @handler(method="GET")
    def picture(self) -> Response:
        return Response(PIXEL, media_type="image/png")

    @handler(method="GET")
    def octets(self) -> bytes:
        return bytes(range(256))

    @handler(method="GET", sse=False)
    def words(self) -> Iterator[str]:
        yield "grün, "
        yield "blau"

    @handler
    async def talk(self, socket: WebSocket, room: str = "") -> None:
        await socket.send(room)
