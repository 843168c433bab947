"""The Open Inference Protocol over REST: what its paths ask, and its answers as HTTP has them."""

from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import unquote

import orjson

from lepton.core.errors import InvalidError, LeptonError, NotFoundError, clip
from lepton.serve.calls import Call, Head
from lepton.serve.faults import reply_for
from lepton.serve.frames import Media
from lepton.serve.program import Reply
from lepton.serve.protocols.inference import operations
from lepton.serve.protocols.inference.dialect import SERVER, Asked, Models
from lepton.serve.protocols.inference.rest import HEADER, Request, config, metadata, read_request, write_answer
from lepton.serve.protocols.inference.tensors import Array, TensorModel, rows_of
from lepton.serve.routes import Operation

VERBS = (("GET", ""), ("GET", "ready"), ("GET", "config"), ("POST", "infer"))


class Rest:
    """`dialect.Dialect` of HTTP.

    Args:
        first: number of its first operation.
    """

    def __init__(self, first: int) -> None:
        self._first = first

    def operations(self) -> Sequence[Operation]:
        """The paths under `/v2`."""
        return operations.rest(self._first)

    def read(self, call: Call, models: Models) -> Asked | Reply:
        """What a path and a body ask."""
        if call.operation == self._first:
            return Reply(orjson.dumps(SERVER), rows=0)
        if call.operation == self._first + 2:
            return Reply(orjson.dumps(models.index()), rows=0)
        model, name, verb = find(call, models)
        if verb == "infer":
            request = read_call(call)
            return Asked(model, request.inputs, partial(answer, model, name, request))
        told = {"ready": {"name": name, "ready": True}, "config": config(model, name), "": metadata(model, name)}[verb]
        return Reply(orjson.dumps(told), rows=0)

    def refuse(self, fault: Exception) -> Reply:
        """An error in the form of the protocol, beside the platform's own."""
        return error_reply(fault)


def find(call: Call, models: Models) -> tuple[TensorModel, str, str]:
    """The model that a path names, by which name, and what is asked of it.

    Raises:
        NotFoundError: there is none, or nothing of that kind can be asked.
    """
    head = call.head or Head("GET", operations.MODELS, "", [], ("", 0))
    name, *rest = [unquote(part) for part in head.path.removeprefix(operations.MODELS).split("/")]
    version = ""
    if rest[:1] == ["versions"]:
        version, rest = (rest[1] if rest[1:] else "?"), rest[2:]
    model = models.find(name, version)
    verb = rest[0] if rest else ""
    if len(rest) > 1 or (head.method, verb) not in VERBS:
        fix = "GET it, GET /ready or /config, or POST /infer."
        raise NotFoundError(f"{head.method} {clip(head.path, 80)} is not known", fix=fix)
    return model, name, verb


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


def answer(model: TensorModel, name: str, request: Request, outputs: Mapping[str, Array]) -> Reply:
    """In JSON, or JSON with raw tensors behind it."""
    body, head_bytes = write_answer(model, name, request, outputs)
    rows = rows_of(model, request.inputs)
    if head_bytes is None:
        return Reply(body, rows=rows)
    return Reply(body, media=Media.OCTETS, headers=f"{HEADER}: {head_bytes}\r\n".encode(), rows=rows)


def error_reply(fault: Exception) -> Reply:
    """An error in the form of the protocol, beside the platform's own; what is malformed is 400 there."""
    reply = reply_for(fault)
    reply.status = 400 if reply.status == 422 else reply.status
    told = dict(fault.to_json()) if isinstance(fault, LeptonError) else orjson.loads(reply.body)
    reply.body = orjson.dumps({"error": f"{told['message']}. {told['fix']}", **told})
    return reply
