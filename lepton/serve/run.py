"""A worker of an endpoint: loads the model, then computes the batches its front sends, until the front is gone."""

import gc
import json
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from select import POLLIN, poll
from threading import Event

import numpy as np

from lepton.core.clock import SystemClock
from lepton.core.context import Context
from lepton.core.errors import LeptonError
from lepton.serve.bodies import answer_bodies, describe, error_body, read_rows
from lepton.serve.capture import Capture
from lepton.serve.frames import Decoder, Entry, Frame, Kind, encode
from lepton.serve.gang import socket_path
from lepton.serve.model import Array, Model, load_model
from lepton.serve.spec import EndpointSpec

READ_BYTES = 1 << 18
TICK_MS = 500
RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Pauses between attempts to reach the front; the last for ever."""
CLOSE_S = 3.0


def main(ctx: Context) -> None:
    """Serve the input `model` until asked to stop and the front has let go."""
    spec = EndpointSpec.from_json(ctx.params["spec"])
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    model = load_model(ctx.input("model"), threads=max(1, spec.worker_cpu_milli // 1000))
    clock = SystemClock()
    gc.collect()
    gc.freeze()  # what is there now stays: no later collection looks at it again
    capture = Capture(ctx, clock, name=str(ctx.params.get("name", "endpoint")), capacity=spec.capture_rows)
    Worker(ctx, model, capture, stop).run(socket_path())


class BatchError(LeptonError):
    """The model failed on rows that had the right form."""

    code = "model"


class Worker:
    """One connection to the front at a time, made again whenever it is lost."""

    def __init__(self, ctx: Context, model: Model, capture: Capture, stop: Event) -> None:
        self._ctx = ctx
        self._model = model
        self._capture = capture
        self._stop = stop
        about = describe(model.form, ctx.input_meta("model"))
        self._hello = json.dumps(about).encode()
        self._name = json.dumps(about["model"]).encode()

    def run(self, path: Path) -> None:
        """Connect and serve until asked to stop, and then on until the front has drained and lets go."""
        tries = 0
        while not self._is_stopping():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                try:
                    link.connect(str(path))
                    tries = 0
                    self._serve(link)
                except OSError:
                    self._stop.wait(RETRY_S[min(tries, len(RETRY_S) - 1)])
                    tries += 1
        self._capture.close(CLOSE_S)

    def _is_stopping(self) -> bool:
        return self._stop.is_set() or self._ctx.should_stop()

    def _serve(self, link: socket.socket) -> None:
        """Answer frames until the front closes the connection."""
        link.sendall(encode(Frame(Kind.HELLO, [Entry(0, self._hello)])))
        decoder = Decoder()
        ready = poll()
        ready.register(link, POLLIN)
        while True:
            if ready.poll(TICK_MS):
                data = link.recv(READ_BYTES)
                if not data:
                    return
                frames = decoder.feed(data)
                if frames:
                    answers = self._answer_all(frames)
                    link.sendall(b"".join([encode(frame) for frame in answers]))
            self._capture.tick()

    def _answer_all(self, frames: Sequence[Frame]) -> list[Frame]:
        """One frame of answers for all that has arrived, computed together; cancelling comes too late for it."""
        asked = [frame for frame in frames if frame.kind == Kind.BATCH]
        if not asked:
            return []
        return [Frame(Kind.ANSWERS, self._answer([entry for frame in asked for entry in frame.entries]), len(asked))]

    def _answer(self, entries: Sequence[Entry]) -> list[Entry]:
        """An answer for each request, in order; one that is malformed costs the others nothing."""
        form = self._model.form
        answers: dict[int, Entry] = {}
        good: list[tuple[Entry, Array]] = []
        for entry in entries:
            try:
                good.append((entry, read_rows(entry.body, entry.media, form)))
            except LeptonError as fault:
                answers[entry.id] = refusal(entry, fault)
        answers.update((answer.id, answer) for answer in self._predict(good))
        return [answers[entry.id] for entry in entries]

    def _predict(self, asked: Sequence[tuple[Entry, Array]]) -> list[Entry]:
        if not asked:
            return []
        rows = asked[0][1] if len(asked) == 1 else np.concatenate([rows for _, rows in asked])
        try:
            scores = self._model.scores(rows)
        except Exception as fault:  # noqa: BLE001 - onnxruntime raises a dozen unrelated types
            if len(asked) > 1:  # one of them spoils it: each alone then
                return [answer for one in asked for answer in self._predict([one])]
            return [refusal(asked[0][0], BatchError(f"The model failed on this input: {fault}"))]
        self._capture.add(rows, scores)
        counts = [len(own) for _, own in asked]
        bodies = answer_bodies(scores, counts, self._model.form, self._name)
        return [
            Entry(entry.id, body, rows=count, status=200)
            for (entry, _), body, count in zip(asked, bodies, counts, strict=True)
        ]


def refusal(entry: Entry, fault: LeptonError) -> Entry:
    """The answer to a request that cannot be computed."""
    return Entry(entry.id, error_body(fault), status=fault.status)
