"""The OpenAPI document of a service, and a page that shows it and lets one try it: no script from elsewhere."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from lepton.serve.annotations import FILE
from lepton.serve.frames import Media
from lepton.serve.program import Reply, Work
from lepton.serve.routes import Operation
from lepton.serve.service import Response

if TYPE_CHECKING:
    from lepton.serve.method import Method
    from lepton.serve.signature import Signature

ERROR = {
    "type": "object",
    "required": ["code", "message", "fix"],
    "properties": {name: {"type": "string"} for name in ("code", "message", "fix")},
}
BINARY = {"type": "string", "format": "binary"}
FILE_MARK = json.dumps({"contentEncoding": FILE["contentEncoding"]})[1:-1]
REFUSED = (401, 413, 422, 500, 503, 504)

Described = tuple[Mapping[str, dict[str, Any]], Mapping[str, Any]]
"""Paths and schemas, as OpenAPI has them."""


def page_works(first: int, kind: type, handlers: "Sequence[Method]", more: Callable[[], Described]) -> list[Work]:
    """The documentation, made when somebody asks for it: a new replica need not wait for it.

    Args:
        first: number of the first operation.
        kind: class of the service.
        more: what else it answers.
    """
    is_open = bool(handlers) and all(handler.wish.is_public for handler in handlers)

    def spec() -> dict[str, Any]:
        return document(kind.__name__, inspect.getdoc(kind) or "", handlers, more())

    def work(number: int, path: str, make: Callable[[], Reply]) -> Work:
        asked = Operation(id=number, path=path, methods=("GET",), is_public=is_open, is_repeatable=True, has_body=False)
        return Work(operation=asked, call=lambda _: make())

    return [
        work(first, "/openapi.json", lambda: Reply(json.dumps(spec()).encode())),
        work(first + 1, "/docs", lambda: Reply(page(spec()).encode(), media=Media.HTML)),
    ]


def document(name: str, doc: str, handlers: "Sequence[Method]", more: Described = ({}, {})) -> dict[str, Any]:
    """OpenAPI 3.1 of all handlers that are not hidden, and of what else there is."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Error": ERROR, **more[1]}
    for handler in handlers:
        if not handler.wish.is_hidden:
            for method in handler.wish.methods:
                path = handler.wish.path.replace(":path}", "}")
                told = operation(handler, method, schemas)
                if len(handler.wish.methods) > 1:
                    told["operationId"] += f"_{method.lower()}"
                paths.setdefault(path, {})[method.lower()] = told
    return sheet(name, doc, {**paths, **{path: found for path, found in more[0].items() if path not in paths}}, schemas)


def sheet(name: str, doc: str, paths: dict[str, dict[str, Any]], schemas: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.1 of some paths."""
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1", "description": doc},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def pages(spec: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The document and the page that shows it, as a hello tells them."""
    return {
        "/openapi.json": {"type": "application/json", "text": json.dumps(spec)},
        "/docs": {"type": "text/html; charset=utf-8", "text": page(spec)},
    }


def operation(handler: "Method", method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """One method of one path; what its schemas define goes into `schemas`."""
    signature = handler.signature
    body, answer = signature.schemas()
    asked = signature.url_schema(method)
    for schema in (body, answer, asked):
        schemas.update(schema.pop("$defs", {}))
    summary, _, description = handler.doc.partition("\n")
    found: dict[str, Any] = {
        "operationId": handler.name,
        "summary": summary or handler.name,
        "description": description.strip(),
        "responses": {
            **answers(handler, answer),
            **refusals(REFUSED),
        },
    }
    if signature.socket_name:
        found["responses"] = {"101": {"description": "A WebSocket"}, **refusals(REFUSED)}
    if asked["properties"]:
        found["parameters"] = [parameter(signature, asked, name) for name in asked["properties"]]
    if not signature.reads_url(method) and (body.get("properties") or signature.whole_name):
        found["requestBody"] = {"required": signature.needs_body, "content": contents(signature, body)}
    if handler.wish.is_public:
        found["security"] = []
    return found


def refusals(statuses: Sequence[int], schema: str = "Error") -> dict[str, Any]:
    """Answers that are errors."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {str(status): {"description": "Refused", "content": content} for status in statuses}


def parameter(signature: "Signature", asked: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One parameter of the URL.

    Args:
        asked: JSON schema of them all.
    """
    is_in_path = name in signature.path_names
    return {
        "name": name,
        "in": "path" if is_in_path else "query",
        "required": is_in_path or name in asked.get("required", ()),
        "schema": asked["properties"][name],
    }


def answers(handler: "Method", schema: dict[str, Any]) -> dict[str, Any]:
    """What a handler answers when all is well."""
    signature = handler.signature
    kinds = [kind for kind in signature.answers if isinstance(kind, type)]
    if signature.is_stream:
        is_plain = signature.yields in (Any, bytes, str)
        chunks = "application/octet-stream" if is_plain else "application/x-ndjson"
        media, shown = ("text/event-stream" if handler.wish.sse else chunks), schema
    elif any(issubclass(kind, Response) for kind in kinds):
        media, shown = "*/*", {}
    elif bytes in kinds:
        media, shown = "application/octet-stream", BINARY
    elif kinds == [type(None)]:
        return {"204": {"description": "Done"}}
    else:
        media, shown = "application/json", schema
    return {"200": {"description": "The answer", "content": {media: {"schema": shown}}}}


def contents(signature: "Signature", schema: dict[str, Any]) -> dict[str, Any]:
    """How a body may come: JSON; with files in it a form; a lone file or array as it is."""
    found = {"application/json": {"schema": schema}}
    if FILE_MARK in json.dumps(schema):
        found["multipart/form-data"] = {"schema": as_form(schema)}
    if signature.is_raw:
        found["application/octet-stream"] = {"schema": BINARY}
    if signature.is_lone_array:
        found["application/x-npy"] = {"schema": BINARY}
    return found


def as_form(schema: Any) -> Any:
    """The schema with files as they come in a form: plain bytes."""
    if isinstance(schema, list):
        return [as_form(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "contentEncoding" in schema:
        return {**{name: value for name, value in schema.items() if name != "contentEncoding"}, **BINARY}
    return {name: as_form(value) for name, value in schema.items()}


def page(spec: dict[str, Any]) -> str:
    """The documentation page of a document."""
    text = resources.files("lepton.serve").joinpath("docs.html").read_text()
    return text.replace("{{spec}}", json.dumps(spec).replace("</", "<\\/"))
