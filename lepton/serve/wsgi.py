"""WSGI applications as ASGI ones: each request in a thread, which ends when nobody waits for it any more."""

from typing import Any

from a2wsgi.wsgi import WSGIMiddleware, WSGIResponder


class Wsgi(WSGIMiddleware):  # type: ignore[misc]
    """One application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or take part in the lifespan."""
        if scope["type"] == "http":
            await Responder(self.app, self.executor, self.send_queue_size)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class Responder(WSGIResponder):  # type: ignore[misc]
    """One request. Its thread puts what it sends in a queue, and waits while that is full: for ever, if nobody took
    anything out of it any more."""

    is_over = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()

    async def sender(self, send: Any) -> None:
        """Send what the thread has put in the queue."""
        try:
            await super().sender(send)
        finally:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        while not self.send_queue.empty():
            self.send_queue.get_nowait()

    def send(self, message: Any) -> None:
        """From the thread: send a part.

        Raises:
            OSError: nobody waits for it.
        """
        if self.is_over:
            raise OSError("The client has gone")
        super().send(message)
