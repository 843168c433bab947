"""A service's handlers as models of the Open Inference Protocol: tensors to arguments, and what they return to tensors.

A handler with `batch` computes rows: the first axis of each tensor is over them, and each row is what one plain request
is. Of others, a request is one call; single values have the shape [1].
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from time import perf_counter_ns
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from pydantic import BaseModel

from lepton.core.errors import InvalidError, clip
from lepton.serve.calls import Call
from lepton.serve.faults import HandlerError
from lepton.serve.method import Method
from lepton.serve.models.pages import protocol_paths
from lepton.serve.numbers import to_array
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference import operations
from lepton.serve.protocols.inference.counted import Statistics
from lepton.serve.protocols.inference.dialect import Asked, Dialect, Models
from lepton.serve.protocols.inference.offer import Form, form_of, forms_of
from lepton.serve.protocols.inference.rpc import Rpc
from lepton.serve.protocols.inference.tensors import DATATYPES, NAMES, Array, Tensor
from lepton.serve.protocols.inference.values import from_elements, is_bfloat16
from lepton.serve.protocols.inference.web import Rest
from lepton.serve.routes import INFERENCE
from lepton.serve.writing import dumps

OUTPUT = "output"
"""What the answer of a handler is called that returns one thing."""
KINDS = {"BOOL": "b", "INT64": "iu", "FP64": "iuf", "BYTES": "O"}
"""Datatype that is told -> the kinds of dtypes that are taken."""
ANY = "FP32"
"""Told of an array that may be of any numbers."""


class Rows(NamedTuple):
    """What a request by tensors asks of a handler, and how it is answered."""

    arguments: Sequence[dict[str, Any]]
    """Of each row; of a handler without rows, one."""
    write: Callable[[Sequence[Any]], Reply]
    """From what the handler returned for each."""
    refuse: Callable[[Exception], Reply]

    def answer(self, values: Sequence[Any]) -> Reply:
        """The answer, or what was wrong with one of the rows."""
        try:
            fault = next((value for value in values if isinstance(value, Exception)), None)
            return self.write(values) if fault is None else self.refuse(fault)
        except Exception as fault:  # noqa: BLE001  what a handler returned may be anything
            return self.refuse(fault)


class HandlerModel:
    """`tensors.TensorModel`, as far as the protocol tells of one, of one handler."""

    version = "1"
    platform = "lepton_service"

    def __init__(self, handler: Method) -> None:
        self.name = handler.name
        self.is_batched = handler.wish.batch > 0
        self._handler = handler
        self._forms = forms_of(handler) or {}
        self.inputs = [self._told(name, form) for name, form in self._forms.items()]
        self.outputs = [self._told(name, form) for name, form in outputs_of(handler.signature.returns).items()]
        self.work = self._work()

    def _told(self, name: str, form: Form) -> Tensor:
        shape = [-1] * (form.depth or int(form.is_array)) or ([] if self.is_batched else [1])
        return Tensor(name, form.datatype or ANY, [-1, *shape] if self.is_batched else shape)

    def _work(self) -> Work:
        """How a replica answers it: in the same way as the handler's plain requests, and batches together with them."""
        plain = self._handler.work(INFERENCE)
        if plain.batch is not None:
            return plain
        if plain.answer is not None:
            return Work(operation=plain.operation, answer=self.answer)
        return Work(operation=plain.operation, call=self.call)

    def call(self, call: Call) -> Reply:
        """Answer one request."""
        rows: Rows = call.rows
        try:
            return rows.answer([self._handler.function(**rows.arguments[0])])
        except Exception as fault:  # noqa: BLE001  whatever a user's code raises
            return rows.refuse(fault)

    async def answer(self, call: Call) -> Reply:
        """Answer one request, in the loop."""
        rows: Rows = call.rows
        try:
            return rows.answer([await self._handler.function(**rows.arguments[0])])
        except Exception as fault:  # noqa: BLE001  whatever a user's code raises
            return rows.refuse(fault)

    def arguments(self, inputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """The arguments of each row.

        Raises:
            InvalidError: an input is unknown, missing, or of another type or shape.
        """
        for name in inputs:
            if name not in self._forms:
                raise InvalidError(
                    f"{self.name} has no input {clip(name, 80)!r}", fix=f"It has {', '.join(self._forms)}."
                )
        check = self._handler.signature.check
        if not self.is_batched:
            return [check({name: column_of(name, array[None], self._forms[name])[0] for name, array in inputs.items()})]
        counts = {len(array) if array.ndim else 0 for array in inputs.values()}
        if len(counts) != 1 or not max(counts):
            raise InvalidError("The inputs have no rows, or different numbers of them", fix="Give all as many rows.")
        columns = {name: column_of(name, array, self._forms[name]) for name, array in inputs.items()}
        return [check({name: column[at] for name, column in columns.items()}) for at in range(max(counts))]

    def outputs_from(self, values: Sequence[Any]) -> Mapping[str, Array]:
        """What the handler returned, for each row, as tensors."""
        parts = [parts_of(value) for value in values]
        if any(part.keys() != parts[0].keys() for part in parts):
            parts = [{OUTPUT: value} for value in values]
        if self.is_batched:
            return {name: stacked([part[name] for part in parts]) for name in parts[0]}
        return {name: single(value) for name, value in parts[0].items()}

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs, computed here and now."""
        return self.outputs_from([self._handler.function(**one) for one in self.arguments(inputs)])


class Services:
    """The handlers of one service as models, in every form of the protocol.

    Args:
        alias: a further name, if there is one model only.
    """

    def __init__(self, handlers: Sequence[Method], alias: str) -> None:
        self._handlers = [HandlerModel(handler) for handler in handlers]
        self.models = Models(self._handlers)
        self.models.alias = alias
        self._rest, rpc = Rest(INFERENCE), Rpc(operations.FIRST_RPC)
        self._dialects: dict[int, Dialect] = {
            operation.id: one for one in (self._rest, rpc) for operation in one.operations()
        }

    def described(self) -> dict[str, dict[str, Any]]:
        """Their paths, as OpenAPI has them."""
        return {path: found for model in self._handlers for path, found in protocol_paths(model, {}).items()}

    def pick(self, call: Call, statistics: Statistics) -> Work | Reply:
        """How the handler that a request names answers it, or what is answered without one."""
        dialect, began = self._dialects.get(call.operation, self._rest), perf_counter_ns()
        if call.operation in operations.COUNTED:
            return statistics.work(self.models, dialect, operations.of(call.operation))
        try:
            asked = dialect.read(call, self.models)
            if isinstance(asked, Reply):
                return asked
            model = asked.model
            assert isinstance(model, HandlerModel)
            call.rows = self._rows(model, asked, dialect, began)
            return model.work
        except Exception as fault:  # noqa: BLE001  whatever is wrong with it
            return dialect.refuse(fault)

    def _rows(self, model: "HandlerModel", asked: Asked, dialect: Dialect, began: int) -> Rows:
        """What a request asks of a handler; its answer is counted."""
        tally, arguments = self.models.tallies[model.name], model.arguments(asked.inputs)
        ready = perf_counter_ns()

        def write(values: Sequence[Any]) -> Reply:
            computed = perf_counter_ns()
            reply = asked.write(model.outputs_from(values))
            tally.computed(len(arguments), computed - ready)
            tally.answered(len(arguments), ready - began, computed - ready, perf_counter_ns() - computed)
            return reply

        def refuse(fault: Exception) -> Reply:
            tally.failed(perf_counter_ns() - began)
            return dialect.refuse(fault)

        return Rows(arguments, write, refuse)


def outputs_of(kind: Any) -> dict[str, Form]:
    """Name -> form of what a handler returns, as far as its annotation tells."""
    fields = {}
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind) or hasattr(kind, "__total__")):
        fields = get_type_hints(kind)
    found = {name: form_of(each) for name, each in (fields or {OUTPUT: kind}).items()}
    return {name: form or Form("BYTES") for name, form in found.items()} if fields or found[OUTPUT] else {}


def column_of(name: str, array: Array, form: Form) -> list[Any]:
    """The value of a parameter for each row.

    Raises:
        InvalidError: the tensor is of another type or shape.
    """
    wanted = "biuf" if form.is_array else KINDS[form.datatype]
    if array.dtype.kind not in wanted:
        told = NAMES.get(array.dtype, str(array.dtype))
        raise InvalidError(f"The input {name!r} is {told}, not {form.datatype or 'numbers'}", fix="Send that datatype.")
    if form.is_array:
        return list(_as_dtype(name, array, form.datatype))
    if array.size != len(array) if form.depth == 0 else array.ndim != form.depth + 1:
        told = f"{form.depth} axes" if form.depth else "one value"
        raise InvalidError(f"The input {name!r} has the shape {list(array.shape[1:])}, not {told}", fix="Send that.")
    values = array.tolist() if form.depth else array.ravel().tolist()
    try:
        return [texts(value) for value in values] if form.is_text else list(values)
    except UnicodeDecodeError as fault:
        raise InvalidError(f"The input {name!r} is no UTF-8: {fault}", fix="Send UTF-8.") from None


def _as_dtype(name: str, array: Array, datatype: str) -> Array:
    """A copy that the handler may write to, of the dtype it wants."""
    kind = np.dtype("bfloat16" if datatype == "BF16" else DATATYPES[datatype]) if datatype else array.dtype
    if not np.can_cast(array.dtype, kind, "same_kind"):
        raise InvalidError(f"The input {name!r} is {NAMES[array.dtype]}, not {datatype}", fix="Send that datatype.")
    try:
        return np.array(to_array(array, kind.type))
    except ValueError as fault:
        raise InvalidError(f"The input {name!r} {fault}", fix="Send values that it can hold.") from None


def texts(value: Any) -> Any:
    """Bytes, in lists or not, as texts."""
    return [texts(one) for one in value] if isinstance(value, list) else value.decode()


def parts_of(value: Any) -> Mapping[str, Any]:
    """What a handler returned, by the names of its outputs."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    is_named = isinstance(value, Mapping) and bool(value) and all(isinstance(name, str) for name in value)
    return value if is_named else {OUTPUT: value}


def stacked(values: Sequence[Any]) -> Array:
    """What each row gave, as one array with an axis over rows; what no tensor can hold is JSON, one text a row."""
    array = array_of(list(values))
    return array if array is not None and len(array) == len(values) else from_elements([as_json(one) for one in values])


def single(value: Any) -> Array:
    """One value as an array of at least one axis."""
    array = array_of(value)
    if array is None:
        return from_elements([as_json(value)])
    return array.reshape(1) if array.ndim == 0 else array


def array_of(value: Any) -> Array | None:
    """An array of numbers or of bytes; None: it is neither."""
    if isinstance(value, bytes):
        return from_elements([value])  # numpy would drop its trailing zeros
    if isinstance(value, list) and value and all(isinstance(one, bytes) for one in value):
        return from_elements(value)
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind == "U":
        return from_elements([one.encode() for one in array.ravel().tolist()]).reshape(array.shape)
    return array if is_bfloat16(array) or (array.dtype in NAMES and array.dtype.kind != "O") else None


def as_json(value: Any) -> bytes:
    """A value as JSON.

    Raises:
        HandlerError: it cannot be.
    """
    try:
        return dumps(value)
    except TypeError as fault:
        raise HandlerError(
            f"The answer cannot be a tensor: {fault}", fix="Return numbers, texts, arrays or JSON."
        ) from None
