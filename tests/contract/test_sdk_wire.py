"""The SDK knows core only and has wire types of its own: here they are held against the server's OpenAPI document."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from lepton.api.app import PREFIX, ROUTERS
from lepton.sdk.limits import EndpointOptions
from lepton.sdk.options import JobOptions
from lepton.sdk.pool import QueueOptions
from lepton.sdk.stations import CleanOptions, ObserveOptions, OptimizeOptions, TrainOptions

SDK = Path(__file__).parents[2] / "lepton" / "sdk"
CALL = re.compile(r'_http\.(get|post|put|delete|head|send|stream|fetch)\(\s*f?"([^"]+)"')
STREAMS = {"stream": "get", "fetch": "post", "send": "put"}
HOLE = re.compile(r"\{[^}]+\}")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    return app.openapi()


@pytest.mark.parametrize(
    ("options", "schema"),
    [
        (JobOptions, "JobIn"),
        (QueueOptions, "QueueIn"),
        (EndpointOptions, "EndpointIn"),
        (CleanOptions, "CleanIn"),
        (TrainOptions, "TrainIn"),
        (OptimizeOptions, "OptimizeIn"),
        (ObserveOptions, "ObserveIn"),
    ],
)
def test_the_server_takes_every_option_the_sdk_offers(document: dict[str, Any], options: Any, schema: str) -> None:
    taken = document["components"]["schemas"][schema]
    assert taken["additionalProperties"] is False
    assert options.__annotations__.keys() <= taken["properties"].keys()


def test_the_job_options_are_all_that_a_job_takes_beside_its_program(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["JobIn"]["properties"].keys()
    assert properties - JobOptions.__annotations__.keys() == {"command", "function"}


def test_every_path_the_sdk_asks_for_is_in_the_document(document: dict[str, Any]) -> None:
    known = {(HOLE.sub("{}", path), method) for path, methods in document["paths"].items() for method in methods}
    asked = {
        (f"{PREFIX}{HOLE.sub('{}', path)}", STREAMS.get(method, method))
        for file in SDK.glob("*.py")
        for method, path in CALL.findall(file.read_text())
    }
    assert len(asked) > 20
    assert asked <= known


@pytest.mark.parametrize(
    ("names", "schema"),
    [
        ({"id", "name", "state", "workspace", "status", "spec", "created_at"}, "ResourceOut"),
        ({"id", "kind", "name", "number", "digest", "size_bytes", "meta", "parents", "job", "files"}, "VersionOut"),
    ],
)
def test_what_the_sdk_reads_is_always_there(document: dict[str, Any], names: set[str], schema: str) -> None:
    assert names <= set(document["components"]["schemas"][schema]["required"])
