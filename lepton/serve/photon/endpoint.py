"""From a marked method to what FastAPI calls: its body, how it runs, what its answers and faults become."""

import inspect
import sys
import traceback
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import pydantic
from fastapi import Body, HTTPException, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, Response

from lepton.serve.photon.batcher import batch
from lepton.serve.photon.lanes import Lane
from lepton.serve.photon.leaving import while_connected
from lepton.serve.photon.marks import Mark

METHODS = ("GET", "POST")
Run = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What becomes of a method's answers."""

    kind: type[Response]
    timeout_s: float

    async def give(self, run: Callable[[], Awaitable[Any]]) -> Response:
        """The response to a request; a fault is one too."""
        try:
            return self._response(await run())
        except TimeoutError:
            text = f"handler timeout after {self.timeout_s} seconds"
            return self._fault(JSONResponse({"error": text}, status_code=504))
        except HTTPException as fault:
            answer = JSONResponse({"error": fault.detail}, status_code=fault.status_code, headers=fault.headers)
            return self._fault(answer)
        except (Exception, KeyboardInterrupt, SystemExit) as fault:  # noqa: BLE001  whatever a user's code raises
            return self._fault(JSONResponse({"error": str(fault)}, status_code=500))

    def _fault(self, answer: Response) -> Response:
        sys.stderr.write(f"Exception in handler:\n{traceback.format_exc()}")
        sys.stderr.flush()
        return answer

    def _response(self, value: Any) -> Response:
        if value is None:
            return Response(status_code=204)
        if isinstance(value, Response):
            return value
        if self.kind is not JSONResponse:
            return self.kind(value)
        try:
            return JSONResponse(value)
        except TypeError:
            return JSONResponse(jsonable_encoder(value))


class Endpoint:
    """One route of a photon.

    Raises:
        ValueError: its options cannot be.
    """

    def __init__(self, photon: Any, mark: Mark, lane: Lane) -> None:
        self._mark = mark
        self._options = mark.options
        self._method = mark.function.__get__(photon, type(photon))
        self._hints = hints_of(mark.function)
        self._signature = typed_signature(self._method, self._hints)
        self._name = f"{type(photon).__name__}_{mark.path}".capitalize() + mark.method.capitalize()
        self.run = self._make_run(lane)
        """The method, as a coroutine function."""
        returned = self._hints.get("return", Any)
        is_response = isinstance(returned, type) and issubclass(returned, Response)
        self._kind = returned if is_response else JSONResponse
        self.answers = Answers(self._kind, photon.handler_timeout)
        self.path = mark.path
        self.model: Any = None if self._is_raw else self._input()
        """Of the body; None: there is nothing to tell, or FastAPI reads the arguments by the method's own signature."""
        self._check()

    def _check(self) -> None:
        options, every_s = self._options, self._options.get("cancel_on_disconnect")
        if self._mark.method.upper() not in METHODS:
            raise ValueError(f"Unsupported http method {self._mark.method}")
        if self._mark.method.upper() == "GET":
            if options.get("use_raw_args"):
                raise ValueError("use_raw_args is for POST")
            return
        if every_s and not isinstance(every_s, float):
            raise ValueError(f"cancel_on_disconnect is a float, the seconds between two looks; got {every_s!r}")
        if every_s and options.get("use_raw_args"):
            raise ValueError("cancel_on_disconnect and use_raw_args do not go together")

    def _make_run(self, lane: Lane) -> Run:
        size = self._options.get("max_batch_size")
        if size is None:
            return lane.wrap(self._method)
        return batch(size, self._options["max_wait_time"], lane)(self._method)  # type: ignore[no-any-return]

    def add_to(self, router: Any) -> None:
        """Add the route to a router or an application."""
        options: dict[str, Any] = {"response_class": self._kind, "openapi_extra": self._extra()}
        if self._kind is JSONResponse:
            options["response_model"] = self._output()
        else:
            options["response_model"] = None
        if "include_in_schema" in self._options:
            options["include_in_schema"] = self._options["include_in_schema"]
        call = self._call()
        call.__name__, call.__doc__ = self._mark.function.__name__, self._mark.function.__doc__
        method = self._mark.method.upper()
        router.add_api_route(f"/{self._mark.path}", call, name=self._mark.path, methods=[method], **options)

    @property
    def _is_raw(self) -> bool:
        return self._mark.method.upper() == "GET" or bool(self._options.get("use_raw_args"))

    @property
    def is_plain(self) -> bool:
        """Whether its answer depends on nothing of a request but a body of JSON."""
        return not (self._is_raw or self._options.get("cancel_on_disconnect") or "{" in self.path)

    def arguments(self, body: Any) -> dict[str, Any]:
        """The method's arguments in a body that was read.

        Raises:
            pydantic.ValidationError: they are not in it.
        """
        return given_of(self.model.model_validate(body))

    def _call(self) -> Any:
        if self._is_raw:
            return self._call_raw()
        return self._call_empty() if self.model is None else self._call_model(self.model)

    def _call_raw(self) -> Any:
        """FastAPI reads the arguments by the method's own signature."""

        async def call(*args: Any, **kwargs: Any) -> Response:
            return await self.answers.give(partial(self.run, *args, **kwargs))

        call.__signature__ = self._signature  # type: ignore[attr-defined]
        return call

    def _call_empty(self) -> Any:
        """The method has no arguments, so the body is of no interest."""

        async def call(raw_request: Request) -> Response:
            return await self.answers.give(partial(self._watched, raw_request))

        return call

    def _call_model(self, model: Any) -> Any:
        """The body is an object with the arguments."""
        examples = self._options.get("examples")
        wanted = Annotated[model, Body(examples=examples)] if isinstance(examples, list) else model

        async def call(raw_request: Request, request: Any) -> Response:
            return await self.answers.give(partial(self._watched, raw_request, **given_of(request)))

        parts = inspect.signature(call).parameters
        wished = [parts["raw_request"], parts["request"].replace(annotation=wanted)]
        call.__signature__ = inspect.Signature(wished)  # type: ignore[attr-defined]
        return call

    async def _watched(self, request: Request, **given: Any) -> Any:
        every_s = self._options.get("cancel_on_disconnect")
        run = self.run(**given)
        return await (while_connected(request, every_s, run) if every_s else run)

    def _input(self) -> Any:
        """The model of the body; None if there is nothing to tell."""
        fields: dict[str, Any] = {}
        extra = False
        for name, part in self._signature.parameters.items():
            if part.kind is part.VAR_KEYWORD:
                extra = True
            elif part.kind is not part.VAR_POSITIONAL:
                hint = Any if part.annotation is part.empty else part.annotation
                fields[name] = (hint, ... if part.default is part.empty else part.default)
        if not fields and not extra:
            return None
        config = pydantic.ConfigDict(
            extra="allow" if extra else "ignore", protected_namespaces=(), arbitrary_types_allowed=True
        )
        return pydantic.create_model(f"{self._name}Input", __config__=config, **fields)

    def _output(self) -> Any:
        """The model of the answer, for the documentation."""
        returned = self._hints.get("return", Any)
        config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        name = f"{self._name}Output"
        model = pydantic.create_model(name, __config__=config, output=(returned, None))
        try:
            model.model_json_schema(mode="serialization")
        except (pydantic.errors.PydanticUserError, ValueError):  # a type that JSON has no word for
            model = pydantic.create_model(name, output=(Any, None))
        return model

    def _extra(self) -> dict[str, Any] | None:
        """The example, where the documentation shows it."""
        examples = self._options.get("examples")
        shown = {"example": self._options["example"]} if "example" in self._options else {}
        if isinstance(examples, dict):
            shown["examples"] = examples
        if not shown or self._mark.method.upper() == "GET":
            return None
        return {"requestBody": {"content": {"application/json": shown}}}


def given_of(body: Any) -> dict[str, Any]:
    """The arguments that the model of a body holds."""
    return {**vars(body), **(body.model_extra or {})}


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a function, those that are strings read if they can be."""
    plain = inspect.unwrap(function)
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except Exception:  # noqa: BLE001  a name that only a type checker knows
        return {name: hint for name, hint in plain.__annotations__.items() if not isinstance(hint, str)}


def typed_signature(method: Callable[..., Any], hints: dict[str, Any]) -> inspect.Signature:
    """The signature with annotations that are no strings."""
    found = inspect.signature(method)
    parts = [part.replace(annotation=hints.get(name, part.empty)) for name, part in found.parameters.items()]
    return found.replace(parameters=parts, return_annotation=inspect.Signature.empty)
