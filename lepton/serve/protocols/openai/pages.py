"""How the documentation shows the OpenAI API: its paths, as OpenAPI has them. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from lepton.serve.openapi import refusals
from lepton.serve.protocols.openai.requests import Chat, Completion, Embedding

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                **{name: {"type": ["string", "null"]} for name in ("type", "param", "code")},
            },
        }
    },
}
ERROR_NAME = "OpenAIError"
REFUSED = (400, 401, 404, 413, 429, 500, 503, 504)
WAYS: Mapping[str, tuple[str, str, type[BaseModel], Mapping[str, Any]]] = {
    "chat": (
        "/v1/chat/completions",
        "Answer a conversation",
        Chat,
        {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 32},
    ),
    "complete": ("/v1/completions", "Go on with a text", Completion, {"prompt": "Once upon a time", "max_tokens": 32}),
    "embed": ("/v1/embeddings", "Turn texts into vectors", Embedding, {"input": ["A text.", "Another."]}),
}
"""What a model can do -> its path, a summary, its body, and an example without the model's name."""


def openai_paths(models: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Path -> method -> operation, and the schemas they name; only what some model can do."""
    schemas: dict[str, Any] = {ERROR_NAME: ERROR}
    paths: dict[str, dict[str, Any]] = {"/v1/models": {"get": _operation("The models", {})}}
    for way, (path, summary, kind, example) in WAYS.items():
        able = [name for name, model in models.items() if hasattr(model, way)]
        if able:
            schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schema["examples"] = [{"model": able[0], **example}]
            paths[path] = {"post": _operation(summary, {"requestBody": _body(schema)})}
    return paths, schemas


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _operation(summary: str, more: dict[str, Any]) -> dict[str, Any]:
    answer = {"description": "The answer", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"summary": summary, "responses": {"200": answer, **refusals(REFUSED, ERROR_NAME)}, **more}
