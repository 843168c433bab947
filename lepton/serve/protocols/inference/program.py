"""The routes of the Open Inference Protocol, answered by tensor models in this process."""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import orjson

from lepton.core.errors import InvalidError, LeptonError, NotFoundError, clip
from lepton.serve.calls import Call, Head
from lepton.serve.faults import reply_for
from lepton.serve.frames import Media
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference.rest import HEADER, Request, metadata, read_request, write_answer
from lepton.serve.protocols.inference.tensors import TensorModel, check, infer_all
from lepton.serve.routes import Operation

PREFIX = "/v2/models/"
SERVER = {"name": "lepton", "version": "2", "extensions": ["binary_tensor_data"]}


class Inference:
    """The protocol over some models.

    Args:
        first: number of its first operation; it has two.
    """

    def __init__(self, models: Sequence[TensorModel], *, first: int) -> None:
        self._models: Mapping[str, TensorModel] = {model.name: model for model in models}
        self._first = first

    def works(self) -> list[Work]:
        """Its routes."""
        about = Operation(id=self._first, path="/v2", methods=("GET",), has_body=False, is_repeatable=True)
        models = Operation(
            id=self._first + 1,
            path=PREFIX,
            methods=("GET", "POST"),
            is_prefix=True,
            is_headed=True,
            is_repeatable=True,
            has_body=False,
        )
        return [Work(operation=about, call=self._about), Work(operation=models, batch=self.batch)]

    def _about(self, call: Call) -> Reply:
        return Reply(orjson.dumps(SERVER), rows=0)

    def batch(self, calls: Sequence[Call]) -> list[Reply]:
        """An answer for each request; those to the same model are computed together."""
        replies: dict[int, Reply] = {}
        asked: dict[str, list[tuple[Call, Request]]] = {}
        for call in calls:
            try:
                model, verb = self._find(call)
                if verb == "infer":
                    request = read_call(call)
                    check(model, request.inputs)
                    asked.setdefault(model.name, []).append((call, request))
                else:
                    told = {"name": model.name, "ready": True} if verb == "ready" else metadata(model)
                    replies[call.id] = Reply(orjson.dumps(told), rows=0)
            except Exception as fault:  # noqa: BLE001  whatever is wrong with this one
                replies[call.id] = error_reply(fault)
        for name, requests in asked.items():
            replies.update(self._infer(self._models[name], requests))
        return [replies[call.id] for call in calls]

    def _infer(self, model: TensorModel, asked: Sequence[tuple[Call, Request]]) -> dict[int, Reply]:
        replies = {}
        found = infer_all(model, [request.inputs for _, request in asked])
        for (call, request), outputs in zip(asked, found, strict=True):
            try:
                if isinstance(outputs, Exception):
                    raise outputs
                body, head_bytes = write_answer(model, request, outputs)
                replies[call.id] = reply_of(body, head_bytes)
            except Exception as fault:  # noqa: BLE001  whatever a runtime raises
                replies[call.id] = error_reply(fault)
        return replies

    def _find(self, call: Call) -> tuple[TensorModel, str]:
        """The model that a path names, and what is asked of it.

        Raises:
            NotFoundError: there is none, or nothing of that kind can be asked.
        """
        head = call.head or Head("GET", PREFIX, "", [], ("", 0))
        name, *rest = [unquote(part) for part in head.path.removeprefix(PREFIX).split("/")]
        model = self._models.get(name)
        if model is None:
            raise NotFoundError(f"There is no model {clip(name, 80)!r}", fix=f"There is {', '.join(self._models)}.")
        if rest[:1] == ["versions"]:
            if rest[1:2] != [model.version]:
                raise NotFoundError(f"{name} has not that version", fix=f"It has {model.version}.")
            rest = rest[2:]
        verb = rest[0] if rest else ""
        if len(rest) > 1 or (head.method, verb) not in (("GET", ""), ("GET", "ready"), ("POST", "infer")):
            raise NotFoundError(
                f"{head.method} {clip(head.path, 80)} is not known", fix="GET it, GET /ready, or POST /infer."
            )
        return model, verb


def read_call(call: Call) -> Request:
    """The request that a call holds.

    Raises:
        InvalidError: it holds none.
    """
    headers = call.head.merged() if call.head else {}
    if "content-encoding" in headers:
        raise InvalidError("A compressed body is not read here", fix="Send it plain.")
    told = headers.get(HEADER)
    if told is not None and not told.isdecimal():
        raise InvalidError(f"{HEADER} is no number", fix="Give the length of the JSON.")
    return read_request(call.body, None if told is None else int(told))


def reply_of(body: bytes, head_bytes: int | None) -> Reply:
    """An answer in JSON, or JSON with raw tensors behind it."""
    if head_bytes is None:
        return Reply(body)
    return Reply(body, media=Media.OCTETS, headers=f"{HEADER}: {head_bytes}\r\n".encode())


def error_reply(fault: Exception) -> Reply:
    """An error in the form of the protocol, beside the platform's own; what is malformed is 400 there."""
    reply = reply_for(fault)
    reply.status = 400 if reply.status == 422 else reply.status
    told = dict(fault.to_json()) if isinstance(fault, LeptonError) else orjson.loads(reply.body)
    reply.body = orjson.dumps({"error": f"{told['message']}. {told['fix']}", **told})
    return reply
