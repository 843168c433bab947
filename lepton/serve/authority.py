"""What a front knows of the platform as an issuer of signed tokens: its keys, and what it has taken back.

The server tells all of it once, and each change as it happens: a question waits there for news. What was told last is
kept in a file, so that a front which starts while the server is away knows as much as the one before.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from typing import Any

from lepton.core.errors import UnavailableError
from lepton.security.revoked import Grant
from lepton.serve.server import Server

WAIT_S = 50.0
"""A question waits this long at the server for news."""
FIRST_S, LAST_S = 0.2, 2.0
"""Between two questions while the server does not answer: longer each time, up to the last."""
REFUSED_S = 30.0
"""After it did not tell: an older server, or a token that has ended."""
SWEEP_EVERY = 1000
"""Marks, after which those that no longer matter are looked for."""


class Authority:
    """The platform's keys and revocations.

    Args:
        server: who tells.
        file: keeps what was told.
    """

    def __init__(self, server: Server, file: Path) -> None:
        self._server = server
        self._token = os.environ.get("LEPTON_TOKEN", "").encode()
        self._file = file
        self._seq = -1
        self._revoked: dict[str, tuple[int, int]] = {}
        """Mark -> up to when what bears it is refused, and until when that matters, in microseconds."""
        self._ears: list[Callable[[], None]] = []
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.issuer = ""
        """Empty: not known yet."""
        self.keys: list[Mapping[str, Any]] = []
        self.workspace = os.environ.get("LEPTON_WORKSPACE", "")

    def begin(self) -> None:
        """Ask from now on."""
        self._task = asyncio.ensure_future(self._follow())

    def end(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()

    def on_news(self, call: Callable[[], None]) -> None:
        """Call it whenever something more is revoked, or the keys are others."""
        self._ears.append(call)

    def off_news(self, call: Callable[[], None]) -> None:
        """Call it no more."""
        self._ears.remove(call)

    async def known(self) -> bool:
        """Whether the keys are known, once the server has been asked."""
        await self._asked.wait()
        return bool(self.issuer)

    def refuses(self, grant: Grant) -> bool:
        """Whether a token was taken back."""
        issued_at = grant.issued_at * 1_000_000
        return any(issued_at <= self._revoked[mark][0] for mark in grant.marks() if mark in self._revoked)

    async def _follow(self) -> None:
        pause_s = FIRST_S
        while True:
            begun = monotonic()
            try:
                status, body = await self._ask()
            except UnavailableError:
                status, body = 0, b""
            if status == 200 and self._hear(body):
                pause_s = FIRST_S
                await asyncio.sleep(0 if monotonic() - begun > FIRST_S else FIRST_S)  # a server that ends does not wait
                continue
            if not self._asked.is_set():
                self._recall()
            self._seq = -1  # when it answers again, it tells all: something may have been missed
            await asyncio.sleep(REFUSED_S if status else pause_s)
            pause_s = min(2 * pause_s, LAST_S)

    async def _ask(self) -> tuple[int, bytes]:
        wait_s = WAIT_S if self._seq >= 0 else 0.0
        return await self._server.get(f"/security/revoked?after={self._seq}&wait_s={wait_s:g}", self._token, wait_s)

    def _hear(self, body: bytes) -> bool:
        """Take in an answer; False: it is none."""
        try:
            told = json.loads(body)
            news = {str(mark): (int(at), int(until)) for mark, at, until in told["revoked"]}
            issuer, seq = str(told["issuer"]), int(told["seq"])
            keys: list[Mapping[str, Any]] = [dict(key) for key in told["keys"]]
        except (ValueError, TypeError, KeyError):
            return False
        is_new = bool(news.items() - self._revoked.items()) or keys != self.keys
        self._seq, self.issuer = seq, issuer
        self.keys = keys if keys != self.keys else self.keys
        self._revoked.update(news)
        self._sweep()
        self._asked.set()
        if is_new:
            for ear in list(self._ears):
                ear()
            self._keep()
        return True

    def _sweep(self) -> None:
        if len(self._revoked) >= SWEEP_EVERY:
            now = time() * 1_000_000
            self._revoked = {mark: one for mark, one in self._revoked.items() if one[1] > now}

    def _keep(self) -> None:
        draft = self._file.with_suffix(".new")
        draft.touch(mode=0o600)
        rows = [[mark, *one] for mark, one in self._revoked.items()]
        draft.write_text(json.dumps({"issuer": self.issuer, "keys": self.keys, "seq": 0, "revoked": rows}))
        draft.replace(self._file)

    def _recall(self) -> None:
        """The server does not answer: what was known last counts."""
        with suppress(OSError):
            self._hear(self._file.read_bytes())
        self._asked.set()
