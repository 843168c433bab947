"""From the bytes of a request to a handler's arguments, and from what it returns to the bytes of an answer.

The parameters of a handler become one pydantic model, so that a wrong field is named; its JSON schema is what the
documentation shows.
"""

import base64
import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cached_property
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from lepton.core.errors import ConfigError, InvalidError
from lepton.serve.calls import Call, read_exactly, read_json, read_other, request_of
from lepton.serve.conversation import WebSocket
from lepton.serve.frames import Media
from lepton.serve.routes import path_pattern
from lepton.serve.service import Request, Upload, Wish, _Whole

EMPTY = inspect.Parameter.empty
OPEN = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, val_json_bytes="base64")
"""For values that came as msgpack or tensors, which have words for NaN and infinities."""
STRICT = ConfigDict(**OPEN, allow_inf_nan=False)
LAX = ConfigDict(**{**STRICT, "strict": False})
TIGHT = (str, int, float, bool, bytes, Upload, type(None))
"""Types of fields that take neither NaN nor infinities; so do lists and unions of them."""
JSON = int(Media.JSON)
PREFIX = "f_"
STREAMS = (Iterator, AsyncIterator, Iterable, typing.AsyncIterable, typing.Generator, typing.AsyncGenerator)


class Signature:
    """How one handler is called.

    Args:
        name: for messages and schemas.
        function: the handler, without `self` bound or already bound.
        wish: from its decorator.

    Raises:
        ConfigError: it cannot be a handler; the message says what about it.
    """

    def __init__(self, name: str, function: Callable[..., Any], wish: Wish) -> None:
        self.name = name
        self.wish = wish
        self.pattern = path_pattern(wish.path.encode())
        self._hints = _hints(function)
        parameters = list(inspect.signature(function).parameters.values())
        if parameters and parameters[0].name == "self":
            parameters = parameters[1:]
        self.request_name = ""
        self.socket_name = ""
        """Of the parameter that gets the WebSocket, if it is for one."""
        self.whole_name = ""
        self.path_names = list(_names(wish.path))
        self.takes_rest = False
        self.kinds: dict[str, Any] = {}
        """Parameter -> its annotation, of a batch that of one item."""
        fields: dict[str, tuple[Any, Any]] = {}
        for parameter in parameters:
            self._place(parameter, fields)
        self._settle_whole(fields)
        self.is_from_url = bool(self.socket_name) or wish.methods in (("GET",), ("DELETE",))
        self._fields = fields
        self._body = {name: field for name, field in fields.items() if name not in self.path_names}
        self._model = self._make("Input", self._body, STRICT)
        self._is_tight = not self.takes_rest and all(_is_tight(kind) for kind in self.kinds.values())
        self._is_loose = all(kind is Any for kind, _ in self._body.values())
        """Nothing of a body is converted, so that it need not be read as JSON once more."""
        self._whole = TypeAdapter(fields[self.whole_name][0], config=None) if self.whole_name else None
        self._is_anything = bool(self.whole_name) and fields[self.whole_name][0] in (Any, dict, dict[str, Any])
        self._wants_object = self._is_anything and fields[self.whole_name][0] is not Any
        self._is_simple = self._is_anything and not (self.request_name or self.path_names or self.is_from_url)
        returned = self._hints.get("return", EMPTY)
        self.returns = _item(returned) if wish.batch and returned is not EMPTY else returned
        self.is_stream = get_origin(returned) in STREAMS or _yields(function)
        self.yields = next(iter(get_args(returned)), Any) if self.is_stream else Any
        """What each piece of a stream is."""

    @property
    def is_headed(self) -> bool:
        """Whether it needs the request's line or headers."""
        return bool(self.request_name or self.path_names or self.is_from_url)

    @property
    def needs_body(self) -> bool:
        """Whether a request without a body cannot fit."""
        return not self.is_from_url and any(default is ... for _, default in self._body.values())

    @cached_property
    def _open(self) -> type[BaseModel]:
        return self._make("Input", self._body, OPEN)

    @cached_property
    def _form(self) -> type[BaseModel]:
        return self._make("Form", self._body, LAX)

    @cached_property
    def _query(self) -> type[BaseModel]:
        return self._make("Query", self._fields, LAX)

    @cached_property
    def _path(self) -> type[BaseModel]:
        return self._make("Path", {name: self._fields.get(name, (str, ...)) for name in self.path_names}, LAX)

    def _place(self, parameter: inspect.Parameter, fields: dict[str, tuple[Any, Any]]) -> None:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            self.takes_rest = True
            return
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            raise ConfigError(
                f"Handler {self.name}: {parameter.name} cannot be given by name", fix="Use plain named parameters."
            )
        kind = self._hints.get(parameter.name, Any)
        if kind is Request:
            self.request_name = parameter.name
            return
        if kind is WebSocket:
            self.socket_name = parameter.name
            return
        if self.wish.batch:
            kind = _item(kind)
        if _Whole in get_args(kind)[1:]:
            self.whole_name = parameter.name
        self.kinds[parameter.name] = kind
        default = ... if parameter.default is EMPTY else parameter.default
        fields[parameter.name] = (_annotated(kind), default)

    def _settle_whole(self, fields: dict[str, tuple[Any, Any]]) -> None:
        """A lone parameter of an object type takes the whole body; so does `**fields`."""
        body = [name for name in fields if name not in self.path_names]
        if not self.whole_name and len(body) == 1 and _is_object(fields[body[0]][0]):
            self.whole_name = body[0]
        if self.whole_name and len(body) > 1:
            raise ConfigError(
                f"Handler {self.name}: {self.whole_name} takes the whole body, so nothing is left for the others",
                fix="Give it one parameter, or put the others into the type.",
            )

    def _make(self, kind: str, fields: Mapping[str, tuple[Any, Any]], config: ConfigDict) -> type[BaseModel]:
        """A model of the fields; inside it their names are prefixed, for a field may be called as a method is."""
        made: Any = {name: (kind, Field(default, alias=name)) for name, (kind, default) in fields.items()}
        extra: Any = {**config, "extra": "allow"} if self.takes_rest else config
        try:
            return create_model(
                f"{self.name}{kind}", __config__=extra, **{PREFIX + name: field for name, field in made.items()}
            )
        except Exception as fault:
            raise ConfigError(
                f"Handler {self.name}: its parameters cannot be read from JSON: {fault}",
                fix="Annotate them with types that JSON can hold.",
            ) from fault

    # reading

    def arguments(self, call: Call) -> dict[str, Any]:
        """The arguments for one request.

        Raises:
            InvalidError: the request does not fit; the message names the field.
        """
        if self._is_simple and call.media == JSON:
            return {self.whole_name: self._anything(call.body)}
        found: dict[str, Any] = {}
        path = self._path_values(call) if self.path_names else {}
        try:
            if self.is_from_url:
                found = self._from_url(call, path)
            elif self.whole_name:
                found = {self.whole_name: self._whole_body(call)}
            elif self._fields or self.takes_rest:
                found = self._body_fields(call)
            if path and not self.is_from_url:
                found |= _spread(self._path.model_validate({name: path[name] for name in self.path_names}))
        except ValidationError as fault:
            raise explain(fault) from None
        if self.request_name:
            found[self.request_name] = request_of(call, path)
        return found

    def _from_url(self, call: Call, path: Mapping[str, str]) -> dict[str, Any]:
        given: dict[str, Any] = dict(path)
        for name, value in parse_qsl(call.head.query if call.head else "", keep_blank_values=True):
            is_list = name in self._fields and get_origin(self._fields[name][0]) in (list, tuple, set)
            if is_list:
                given.setdefault(name, []).append(value)
            else:
                given[name] = value
        return _spread(self._query.model_validate(given))

    def _path_values(self, call: Call) -> dict[str, str]:
        match = self.pattern.fullmatch(call.head.path.encode()) if call.head else None
        return {k: unquote(v.decode()) for k, v in match.groupdict().items()} if match else {}

    def _whole_body(self, call: Call) -> Any:
        assert self._whole is not None
        if call.media == Media.JSON or call.media == Media.OTHER:
            if self._is_anything:
                return self._anything(call.body)
            read_json(call.body)
            return self._whole.validate_json(call.body, strict=True)
        return self._whole.validate_python(read_other(call))

    def _anything(self, body: bytes) -> Any:
        value = read_exactly(body)
        if self._wants_object and not isinstance(value, dict):
            raise InvalidError("The body is no JSON object", fix='Send {"field": value, ...}.')
        return value

    def _body_fields(self, call: Call) -> dict[str, Any]:
        if call.media in (Media.JSON, Media.OTHER):
            return _spread(self._from_json(call.body or b"{}"))
        value = read_other(call)
        if call.media in (Media.NPY, Media.OCTETS, Media.TEXT):
            if len(self._body) != 1:
                raise InvalidError(
                    f"{self.name} takes {len(self._body)} fields, and such a body holds one value", fix="Send JSON."
                )
            value = dict.fromkeys(self._body, value)
        is_text = call.media == Media.FORM
        return _spread((self._form if is_text else self._open).model_validate(value))

    def _from_json(self, body: bytes) -> BaseModel:
        if self._is_loose and isinstance(value := read_exactly(body), dict):
            return self._model.model_validate(value)
        if not self._is_tight:
            read_json(body)  # for its faults: pydantic would let NaN, Infinity and 1e999 pass
        return self._model.model_validate_json(body)

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments from values that came otherwise than in a body.

        Raises:
            InvalidError: they do not fit; the message names the field.
        """
        try:
            if self._whole is not None:
                return {self.whole_name: self._whole.validate_python(values.get(self.whole_name))}
            return _spread(self._open.model_validate(values))
        except ValidationError as fault:
            raise explain(fault) from None

    # schemas

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """JSON schemas of the body and of the answer."""
        if self.whole_name:
            assert self._whole is not None
            body = self._whole.json_schema(ref_template="#/components/schemas/{model}")
        else:
            body = self._model.model_json_schema(ref_template="#/components/schemas/{model}")
        try:
            kind = Any if self.returns is EMPTY or self.is_stream else self.returns
            answer = TypeAdapter(_annotated(kind)).json_schema(
                ref_template="#/components/schemas/{model}", mode="serialization"
            )
        except Exception:  # noqa: BLE001  a type that JSON schema has no word for
            answer = {}
        return body, answer

    def url_schema(self) -> dict[str, Any]:
        """JSON schema of what comes from the URL."""
        return (self._query if self.is_from_url else self._path).model_json_schema()

    def url_fields(self) -> dict[str, tuple[Any, Any]]:
        """Parameters that come from the URL: name -> (annotation, default)."""
        return {name: kind for name, kind in self._fields.items() if self.is_from_url or name in self.path_names}


def explain(fault: ValidationError) -> InvalidError:
    """What was wrong, naming the field; of several the first, and how many more."""
    first, *more = fault.errors(include_url=False)
    if first["type"] == "json_invalid":
        return InvalidError(f"The body is no JSON: {first['ctx']['error']}", fix="Send JSON in UTF-8.")
    where = ".".join(str(part) for part in first["loc"]) or "body"
    words = {
        "missing": "is missing",
        "extra_forbidden": "is unknown",
    }.get(first["type"], first["msg"].replace("Input should be", "should be").replace("Value error, ", ""))
    rest = f" (and {len(more)} more)" if more else ""
    shown = "" if first["type"] in ("missing", "extra_forbidden") else f", not {str(first.get('input'))[:80]!r}"
    return InvalidError(f"{where}: {words}{shown}{rest}", fix="See /docs for what it takes.")


def _spread(model: BaseModel) -> dict[str, Any]:
    """Its fields by the names that the handler has for them, not copied."""
    named = {name[len(PREFIX) :]: value for name, value in model.__dict__.items()}
    return named | model.__pydantic_extra__ if model.__pydantic_extra__ else named


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as fault:
        raise ConfigError(
            f"The annotations of {getattr(function, '__name__', function)} cannot be read: {fault}",
            fix="Import what they name at the top of the file.",
        ) from fault


def _names(path: str) -> Iterator[str]:
    for part in path.split("{")[1:]:
        yield part.partition("}")[0].partition(":")[0]


def _item(kind: Any) -> Any:
    """T of list[T]; for a batch handler, whose parameters are lists with one item for each request."""
    return get_args(kind)[0] if get_origin(kind) in (list, tuple) and get_args(kind) else Any


def _is_object(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind is dict or get_origin(kind) is dict:
        return True
    is_class = isinstance(kind, type) and not isinstance(kind, types.GenericAlias)
    return is_class and (issubclass(kind, BaseModel) or (is_dataclass(kind) and kind is not Upload) or _is_typed(kind))


def _is_typed(kind: type) -> bool:
    return issubclass(kind, dict) and hasattr(kind, "__total__")


def _is_tight(kind: Any) -> bool:
    """Whether no value of it is, or holds, anything that JSON has no word for."""
    origin = get_origin(kind)
    if origin in (list, tuple, set, dict, typing.Union, types.UnionType):
        return all(_is_tight(part) for part in get_args(kind) if part is not ...)
    return kind in TIGHT or origin is typing.Literal


def _annotated(kind: Any) -> Any:
    """The annotation as pydantic shall read it."""
    if kind is EMPTY:
        return Any
    if getattr(kind, "__module__", "").partition(".")[0] == "numpy" and "ndarray" in repr(kind):
        return Annotated[Any, BeforeValidator(_to_array), WithJsonSchema({"type": "array", "items": {}})]
    if kind is Upload:
        return Annotated[
            Any, PlainValidator(_to_upload), WithJsonSchema({"type": "string", "contentEncoding": "base64"})
        ]
    return kind


def _to_array(value: Any) -> Any:
    import numpy as np  # noqa: PLC0415  the service has imported it

    if isinstance(value, np.ndarray):
        return value
    try:
        found = np.asarray(value)
    except ValueError as fault:
        raise ValueError(f"should be an array: {fault}") from None
    if found.dtype.kind not in "biuf":
        raise ValueError("should be an array of numbers")
    return found


def _to_upload(value: Any) -> Upload:
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


def _yields(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
