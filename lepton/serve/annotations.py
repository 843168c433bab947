"""How a handler's annotations are read: arrays and files among pydantic's own types, wherever they stand."""

import base64
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions
from pydantic import BaseModel, BeforeValidator, PlainValidator, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from lepton.core.errors import ConfigError
from lepton.serve.service import Upload

EMPTY = inspect.Parameter.empty
TIGHT = (str, int, float, bool, bytes, Upload, type(None))
"""Types of fields that take neither NaN nor infinities; so do lists and unions of them."""
FILE = {"type": "string", "contentEncoding": "base64"}
"""JSON schema of bytes."""


class Schema(GenerateJsonSchema):
    """JSON schemas that say nothing of defaults for which JSON has no word."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  as its base has it


def annotated(kind: Any) -> Any:
    """The annotation as pydantic shall read it."""
    if kind is EMPTY:
        return Any
    if kind is bytes:
        return Annotated[bytes, WithJsonSchema(dict(FILE))]
    if is_array(kind):
        read = partial(_to_array, dtype=dtype_of(kind))
        return Annotated[Any, BeforeValidator(read), WithJsonSchema({"type": "array", "items": {}})]
    if is_typed_of_old(kind):
        return _typed(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if not accepts_truth(kind):
        return Annotated[kind, BeforeValidator(partial(_no_truth, kind=kind))]
    if origin is Literal or not arguments:
        return kind
    if origin is Annotated:
        return Annotated[annotated(arguments[0]), *kind.__metadata__]
    made = tuple(annotated(one) if _is_annotation(one) else one for one in arguments)
    if made == arguments:
        return kind
    return Union[made] if origin in (Union, types.UnionType) else origin[made]  # noqa: UP007  of any number


def accepts_truth(kind: Any) -> bool:
    """Whether true and false may be values of it; of a choice among numbers they are none."""
    kinds = set(map(type, choices(kind)))
    return not kinds or bool in kinds or kinds.isdisjoint((int, float))


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a choice; none if it is no choice."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(one.value for one in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def _no_truth(value: Any, kind: Any) -> Any:
    if isinstance(value, bool):
        expected = ", ".join(map(repr, choices(kind)))
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return value


def _is_annotation(kind: Any) -> bool:
    return isinstance(kind, type) or get_origin(kind) is not None


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of which a value may be, without what else is said of them."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return alternatives(arguments[0])
    if origin in (Union, types.UnionType):
        return tuple(inner for one in arguments for inner in alternatives(one))
    return (kind,)


def item_of(kind: Any) -> Any:
    """T of list[T]; for a batch handler, whose parameters are lists with one item for each request."""
    return get_args(kind)[0] if get_origin(kind) in (list, tuple, Sequence) and get_args(kind) else Any


def is_many(kind: Any) -> bool:
    """Whether it is of several values in a row."""
    return (get_origin(kind) or kind) in (list, tuple, set, frozenset, Sequence)


def is_object(kind: Any) -> bool:
    """Whether it is a JSON object: a mapping, or a class with fields."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind is dict or get_origin(kind) is dict:
        return True
    is_class = isinstance(kind, type) and not isinstance(kind, types.GenericAlias)
    return is_class and (issubclass(kind, BaseModel) or (is_dataclass(kind) and kind is not Upload) or is_typed(kind))


def is_typed(kind: type) -> bool:
    """Whether it is a `TypedDict`."""
    return issubclass(kind, dict) and hasattr(kind, "__total__")


def is_typed_of_old(kind: Any) -> bool:
    """Whether it is a `typing.TypedDict` of a Python whose own pydantic does not read."""
    return (
        sys.version_info < (3, 12) and isinstance(kind, type) and is_typed(kind) and type(kind).__module__ == "typing"
    )


def _typed(kind: Any) -> Any:
    """The same `TypedDict`, as pydantic reads it."""
    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        is_marked = get_origin(hint) in (typing.Required, typing.NotRequired)
        plain = annotated(get_args(hint)[0] if is_marked else hint)
        fields[name] = plain if name in kind.__required_keys__ else typing_extensions.NotRequired[plain]
    make: Any = typing_extensions.TypedDict
    return make(kind.__name__, fields)


def is_tight(kind: Any) -> bool:
    """Whether no value of it is, or holds, anything that JSON has no word for."""
    origin = get_origin(kind)
    if origin in (list, tuple, set, dict, Union, types.UnionType):
        return all(is_tight(part) for part in get_args(kind) if part is not ...)
    return kind in TIGHT or origin is Literal


def is_array(kind: Any) -> bool:
    """Whether it is numpy's: `np.ndarray`, `NDArray[np.float32]`."""
    return getattr(kind, "__module__", "").partition(".")[0] == "numpy" and "ndarray" in repr(kind)


def dtype_of(kind: Any) -> Any:
    """The scalar type of `NDArray[np.float32]`; None: any numbers."""
    arguments = get_args(kind)
    inner = get_args(arguments[1]) if len(arguments) > 1 else ()
    return inner[0] if inner and isinstance(inner[0], type) else None


def hints_of(kind: Any) -> dict[str, Any]:
    """Field -> annotation of a class with fields, by the names that a body has for them; empty: it is none."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and (is_dataclass(kind) or is_typed(kind)):
        return typing.get_type_hints(kind, include_extras=True)
    return {}


def hints_in(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameter -> annotation of a function.

    Raises:
        ConfigError: they cannot be read.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as fault:
        raise ConfigError(
            f"The annotations of {getattr(function, '__name__', function)} cannot be read: {fault}",
            fix="Import what they name at the top of the file.",
        ) from fault


def _to_array(value: Any, dtype: Any) -> Any:
    from lepton.serve.numbers import to_array  # noqa: PLC0415  numpy, which the service has imported

    return to_array(value, dtype)


def upload_schema(handler: Any) -> Any:
    """What pydantic shall know of `Upload`; `handler` is its `GetCoreSchemaHandler`."""
    return handler.generate_schema(Annotated[Any, PlainValidator(to_upload), WithJsonSchema(dict(FILE))])


def to_upload(value: Any) -> Upload:
    """A file of a form, bytes, or base64 as an `Upload`.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, Upload):
        return value
    if isinstance(value, bytes):
        return Upload(value)
    if not isinstance(value, str):
        raise ValueError("should be a file, or its bytes in base64")
    try:
        return Upload(base64.b64decode(value.partition(";base64,")[2] or value, validate=True))
    except ValueError:
        raise ValueError("should be base64") from None
