"""From the bytes of a request to a handler's arguments, and from what it returns to the bytes of an answer.

The parameters of a handler become one pydantic model, so that a wrong field is named; its JSON schema is what the
documentation shows.
"""

import inspect
import json
import typing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from lepton.core.errors import ConfigError, InvalidError
from lepton.serve.annotations import (
    EMPTY,
    Schema,
    alternatives,
    annotated,
    hints_in,
    hints_of,
    is_array,
    is_object,
    is_tight,
    item_of,
)
from lepton.serve.calls import Call, read_exactly, read_json, read_other, request_of
from lepton.serve.conversation import WebSocket
from lepton.serve.forms import Texts, read_form, read_name, read_query
from lepton.serve.frames import Media
from lepton.serve.misfits import explain
from lepton.serve.routes import path_pattern
from lepton.serve.service import Request, Upload, Wish, _Whole

OPEN = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, val_json_bytes="base64")
"""For values that came as msgpack or tensors, which have words for NaN and infinities."""
STRICT = ConfigDict(**OPEN, allow_inf_nan=False)
LAX = ConfigDict(**{**STRICT, "strict": False})
JSON = int(Media.JSON)
BODILESS = frozenset(("GET", "HEAD", "DELETE"))
PREFIX = "f_"
PLACE = "#/components/schemas/{model}"
"""Where schemas stand in an OpenAPI document."""
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
        self._hints = hints_in(function)
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
        self._is_mixed = not self.is_from_url and not BODILESS.isdisjoint(wish.methods)
        """Its arguments come from the URL or from a body, as the method is."""
        self._fields = fields
        self._body = {name: field for name, field in fields.items() if name not in self.path_names}
        self._model = self._make("Input", self._body, STRICT)
        self._is_tight = not self.takes_rest and all(is_tight(kind) for kind in self.kinds.values())
        self._is_loose = all(kind is Any for kind, _ in self._body.values())
        """Nothing of a body is converted, so that it need not be read as JSON once more."""
        self._whole = self._adapter(fields[self.whole_name][0]) if self.whole_name else None
        self._is_anything = bool(self.whole_name) and fields[self.whole_name][0] in (Any, dict, dict[str, Any])
        self._wants_object = self._is_anything and fields[self.whole_name][0] is not Any
        self._is_simple = self._is_anything and not self.is_headed
        returned = self._hints.get("return", EMPTY)
        self.returns = item_of(returned) if wish.batch and returned is not EMPTY else returned
        self.is_stream = get_origin(returned) in STREAMS or _yields(function)
        self.yields = next(iter(get_args(returned)), Any) if self.is_stream else Any
        """What each piece of a stream is."""

    @property
    def is_headed(self) -> bool:
        """Whether it needs the request's line or headers."""
        return bool(self.request_name or self.path_names or self.is_from_url or self._is_mixed)

    @property
    def needs_body(self) -> bool:
        """Whether a request without a body cannot fit."""
        is_needed = not self.is_from_url and not self._is_mixed
        return is_needed and any(default is ... for _, default in self._body.values())

    @property
    def is_lone_array(self) -> bool:
        """Whether its only field is an array."""
        return len(self._body) == 1 and any(map(is_array, alternatives(self.kinds[next(iter(self._body))])))

    @property
    def answers(self) -> tuple[Any, ...]:
        """The types that it says it returns; none if it says nothing."""
        kinds = () if self.returns is EMPTY or self.is_stream else alternatives(self.returns)
        return tuple(type(None) if kind is None else kind for kind in kinds)

    @property
    def is_raw(self) -> bool:
        """Whether a body of whatever type is the bytes of its only field."""
        kinds = alternatives(self.kinds[next(iter(self._body))]) if len(self._body) == 1 else ()
        return not self.is_from_url and (bytes in kinds or Upload in kinds)

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
    def _texts(self) -> Texts:
        whole = self.kinds.get(self.whole_name)
        return Texts(self.kinds if whole is None else hints_of(alternatives(whole)[0]) | self.kinds)

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
            kind = item_of(kind)
        if _Whole in get_args(kind)[1:]:
            self.whole_name = parameter.name
        self.kinds[parameter.name] = kind
        default = ... if parameter.default is EMPTY else parameter.default
        fields[parameter.name] = (annotated(kind), default)

    def _settle_whole(self, fields: dict[str, tuple[Any, Any]]) -> None:
        """A lone parameter of an object type takes the whole body; so does `**fields`."""
        body = [name for name in fields if name not in self.path_names]
        if not self.whole_name and len(body) == 1 and is_object(fields[body[0]][0]):
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
            raise self._unreadable(fault) from fault

    def _adapter(self, kind: Any) -> TypeAdapter[Any]:
        try:
            return TypeAdapter(kind, config=None)
        except Exception as fault:
            raise self._unreadable(fault) from fault

    def _unreadable(self, fault: Exception) -> ConfigError:
        return ConfigError(
            f"Handler {self.name}: its parameters cannot be read from JSON: {fault}",
            fix="Annotate them with types that JSON can hold.",
        )

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
        is_from_url = self.reads_url(call.head.method if call.head is not None else "")
        try:
            if is_from_url:
                found = self._from_url(call, path)
            elif self.whole_name:
                found = {self.whole_name: self._whole_body(call)}
            elif self._fields or self.takes_rest:
                found = self._body_fields(call)
            if path and not is_from_url:
                found |= self._from_path(path)
        except ValidationError as fault:
            raise self._misfit(fault, self._sent(call)) from None
        except RecursionError:
            raise InvalidError("The body is nested too deeply", fix="Send less levels in one another.") from None
        if self.request_name:
            found[self.request_name] = request_of(call, path)
        return found

    def reads_url(self, method: str) -> bool:
        """Whether a request of that method has all in its URL, and no body."""
        return self.is_from_url or (self._is_mixed and method in BODILESS)

    def _from_url(self, call: Call, path: Mapping[str, str]) -> dict[str, Any]:
        given = self._texts.gather(read_query(call.head.query if call.head else ""))
        if self._whole is not None:
            return self._from_path(path) | {self.whole_name: self._whole.validate_python(given)}
        return _spread(self._query.model_validate(given | self._texts.gather(path.items())))

    def _from_path(self, path: Mapping[str, str]) -> dict[str, Any]:
        given = self._texts.gather(path.items())
        try:
            return _spread(self._path.model_validate(given))
        except ValidationError as fault:
            raise explain(fault, given, self.kinds) from None

    def _misfit(self, fault: ValidationError, sent: Any) -> InvalidError:
        return explain(fault, sent, self.kinds.get(self.whole_name, self.kinds))

    def _sent(self, call: Call) -> Any:
        """All that a request holds for it, which has been read before; None: no JSON."""
        if self.reads_url(call.head.method if call.head is not None else ""):
            given = self._texts.gather(read_query(call.head.query if call.head else ""))
            return given | self._texts.gather(self._path_values(call).items())
        if self._is_json(call):
            with suppress(ValueError, RecursionError):
                return json.loads(call.body or b"{}")
            return None
        if call.media == Media.FORM:
            return self._texts.gather(read_form(call))
        value = self._other(call)
        return value if self.whole_name or call.media == Media.MSGPACK else dict.fromkeys(self._body, value)

    def _is_json(self, call: Call) -> bool:
        return call.media == Media.JSON or (call.media == Media.OTHER and not self.is_raw)

    def _path_values(self, call: Call) -> dict[str, str]:
        match = self.pattern.fullmatch(call.head.path.encode()) if call.head else None
        return {k: read_name(v.decode()) for k, v in match.groupdict().items()} if match else {}

    def _whole_body(self, call: Call) -> Any:
        assert self._whole is not None
        if self._is_json(call):
            if self._is_anything:
                return self._anything(call.body)
            read_json(call.body)
            return self._whole.validate_json(call.body, strict=True)
        if call.media == Media.FORM:
            return self._whole.validate_python(self._texts.gather(read_form(call)))
        return self._whole.validate_python(self._other(call))

    def _anything(self, body: bytes) -> Any:
        value = read_exactly(body)
        if self._wants_object and not isinstance(value, dict):
            raise InvalidError("The body is no JSON object", fix='Send {"field": value, ...}.')
        return value

    def _body_fields(self, call: Call) -> dict[str, Any]:
        if self._is_json(call):
            return _spread(self._from_json(call.body or b"{}"))
        if call.media == Media.FORM:
            return _spread(self._form.model_validate(self._texts.gather(read_form(call))))
        value = self._other(call)
        if call.media == Media.MSGPACK:
            return _spread(self._from_msgpack(value))
        if len(self._body) != 1:
            raise InvalidError(
                f"{self.name} takes {len(self._body)} fields, and such a body holds one value", fix="Send JSON."
            )
        return _spread(self._open.model_validate(dict.fromkeys(self._body, value)))

    def _other(self, call: Call) -> Any:
        """The value of a body that is no JSON; of what is taken as it is with its type, if the handler wants that."""
        if call.media not in (Media.TEXT, Media.OTHER) or not self.is_raw:
            return read_other(call)
        wanted = alternatives(self.kinds[next(iter(self._body))])
        if call.media == Media.TEXT and str in wanted:
            return read_other(call)
        kind = call.head.merged().get("content-type", "") if call.head is not None else "text/plain"
        return Upload(call.body, "", kind) if Upload in wanted else call.body

    def _from_msgpack(self, value: Any) -> BaseModel:
        """What fits as it is, or else as the same value in JSON does, which has texts for dates and their like."""
        try:
            return self._open.model_validate(value)
        except ValidationError as fault:
            with suppress(TypeError, ValueError):  # bytes, which JSON does not know; or it does not fit either
                return self._open.model_validate_json(json.dumps(value))
            raise fault

    def _from_json(self, body: bytes) -> BaseModel:
        if self._is_loose and isinstance(value := read_exactly(body), dict):
            return self._model.model_validate(value)
        if not self._is_tight:
            read_json(body)  # for its faults: pydantic would let NaN, Infinity and 1e999 pass
        return self._model.model_validate_json(body, strict=True)  # also of classes in it

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
            raise self._misfit(fault, values.get(self.whole_name, values)) from None

    # schemas

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """JSON schemas of the body and of the answer."""
        if self.whole_name:
            assert self._whole is not None
            body = self._whole.json_schema(ref_template=PLACE, schema_generator=Schema)
        else:
            body = self._model.model_json_schema(ref_template=PLACE, schema_generator=Schema)
        try:
            kind = Any if self.returns is EMPTY or self.is_stream else self.returns
            answer = TypeAdapter(annotated(kind)).json_schema(
                ref_template=PLACE, schema_generator=Schema, mode="serialization"
            )
        except Exception:  # noqa: BLE001  a type that JSON schema has no word for
            answer = {}
        return body, answer

    def url_schema(self, method: str) -> dict[str, Any]:
        """JSON schema of what a request of that method has in its URL."""
        reads_all = self.reads_url(method)
        if reads_all and self._whole is not None:
            found = self._whole.json_schema(ref_template=PLACE, schema_generator=Schema)
        elif reads_all:
            return self._query.model_json_schema(ref_template=PLACE, schema_generator=Schema)
        else:
            found = {}
        path = self._path.model_json_schema(ref_template=PLACE, schema_generator=Schema)
        return {
            "properties": path.get("properties", {}) | found.get("properties", {}),
            "required": [*path.get("required", ()), *found.get("required", ())],
            "$defs": path.get("$defs", {}) | found.get("$defs", {}),
        }


def _spread(model: BaseModel) -> dict[str, Any]:
    """Its fields by the names that the handler has for them, not copied."""
    named = {name[len(PREFIX) :]: value for name, value in model.__dict__.items()}
    return named | model.__pydantic_extra__ if model.__pydantic_extra__ else named


def _names(path: str) -> Iterator[str]:
    for part in path.split("{")[1:]:
        yield part.partition("}")[0].partition(":")[0]


def _yields(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
