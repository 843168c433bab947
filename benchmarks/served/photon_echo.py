"""What comes goes back, as a program of the vendor's Photon class; the peer runs the same."""

from typing import Any

from leptonai.photon import Photon


class Echo(Photon):
    """The cost of serving alone."""

    handler_max_concurrency = 64

    @Photon.handler("predict")
    def predict(self, id: int, user: str, text: str, tags: list[str], score: float) -> dict[str, Any]:
        """Give back what came."""
        return {"id": id, "user": user, "text": text, "tags": tags, "score": score}

    @Photon.handler("async")
    async def predict_async(self, id: int, user: str, text: str, tags: list[str], score: float) -> dict[str, Any]:
        """The same without a thread."""
        return {"id": id, "user": user, "text": text, "tags": tags, "score": score}
