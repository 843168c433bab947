"""Which handlers of a service the Open Inference Protocol can ask, by their annotations. Light: loads no numpy.

A handler is a model, named as it is, if each of its parameters is a number, a text, bytes, an array, or a list of such.
"""

import types
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin

from lepton.serve.calls import Call
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference import operations
from lepton.serve.protocols.inference.counted import Statistics
from lepton.serve.routes import INFERENCE

if TYPE_CHECKING:
    from lepton.serve.method import Method
    from lepton.serve.protocols.inference.services import Services

SCALARS: dict[Any, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES", bytes: "BYTES"}


class Form(NamedTuple):
    """How a Python type travels as a tensor."""

    datatype: str
    """As it is told; empty: any numbers."""
    depth: int = 0
    """Lists within lists."""
    is_array: bool = False
    """A numpy array, of any number of axes."""
    is_text: bool = False


def form_of(kind: Any) -> Form | None:
    """The form of an annotation; None: no tensor can hold it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return form_of(arguments[0])
    if origin in (Union, types.UnionType):
        inner = [one for one in arguments if one is not type(None)]
        return form_of(float if set(inner) == {int, float} else inner[0]) if _is_plain(inner) else None
    if getattr(kind, "__module__", "").partition(".")[0] == "numpy" and "ndarray" in repr(kind):
        return Form(_dtype(arguments), is_array=True)
    if isinstance(kind, type) and kind in SCALARS:
        return Form(SCALARS[kind], is_text=kind is str)
    if origin in (list, Sequence) and arguments and (item := form_of(arguments[0])) is not None:
        return None if item.is_array else item._replace(depth=item.depth + 1)
    return None


def _is_plain(inner: list[Any]) -> bool:
    """Whether a union is of one type, or of both kinds of numbers."""
    return len(inner) == 1 or set(inner) == {int, float}


def _dtype(arguments: tuple[Any, ...]) -> str:
    """The dtype of `NDArray[np.float32]`, by the protocol's name; empty: of any."""
    inner = get_args(arguments[1]) if len(arguments) > 1 else ()
    name = getattr(inner[0], "__name__", "") if inner else ""
    names = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "bfloat16": "BF16"}
    names |= dict.fromkeys(("bool", "bool_"), "BOOL")
    is_whole = name.rstrip("0123456789") in ("int", "uint") and name[-1:].isdigit()
    return name.upper() if is_whole else names.get(name, "")


def forms_of(handler: "Method") -> dict[str, Form] | None:
    """Parameter -> its form; None: the handler is no model."""
    signature = handler.signature
    is_usual = (
        not (signature.is_headed or signature.takes_rest or signature.is_stream) and "POST" in handler.wish.methods
    )
    found = {name: form_of(kind) for name, kind in signature.kinds.items()} if is_usual else {}
    forms = {name: form for name, form in found.items() if form is not None}
    return forms if forms and len(forms) == len(found) else None


class Offer:
    """The protocol over a service's handlers; what computes is loaded with the first request.

    Args:
        handlers: of the service; those that are no models are passed over.
    """

    def __init__(self, handlers: Sequence["Method"]) -> None:
        self.handlers = [handler for handler in handlers if forms_of(handler) is not None]
        self.alias = ""
        """A further name, if there is one model only."""
        self._services: Services | None = None
        self.statistics = Statistics(lambda: self._services.models if self._services is not None else None)

    def works(self) -> list[Work]:
        """All operations of the protocol; none if no handler is a model."""
        if not self.handlers:
            return []
        rpcs = operations.rpcs(operations.FIRST_RPC) if operations.has_protobuf() else []
        wishes = [handler.wish for handler in self.handlers]
        told = {
            "is_repeatable": all(wish.is_repeatable for wish in wishes),
            "timeout_s": max(wish.timeout_s for wish in wishes),
        }
        rest = [*operations.rest(INFERENCE), *operations.statistics(operations.FIRST_STATISTICS)]
        made = [replace(one, **told) for one in [*rest, *rpcs]]  # type: ignore[arg-type]
        return [Work(operation=one, pick=self.pick) for one in made]

    def pick(self, call: Call) -> Work | Reply:
        """How the handler that a request names answers it, or what is answered without one."""
        return self._loaded().pick(call, self.statistics)

    def described(self) -> dict[str, dict[str, Any]]:
        """Its paths, as OpenAPI has them."""
        return self._loaded().described() if self.handlers else {}

    def _loaded(self) -> "Services":
        if self._services is None:
            from lepton.serve.protocols.inference.services import Services  # noqa: PLC0415  numpy, once it is asked

            self._services = Services(self.handlers, self.alias)
        return self._services
