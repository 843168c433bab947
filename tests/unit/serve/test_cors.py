"""Who may read answers in a browser: as Starlette's middleware decides it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient

from lepton.core.errors import ConfigError
from lepton.serve.cors import Cors

ORIGINS = ["https://a.example", "http://b:81"]
METHODS = ["GET", "POST", "DELETE"]
HEADERS = ["X-One", "Authorization"]


def some(values: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.just(["*"]) | st.lists(st.sampled_from(values), unique=True)


def read(lines: bytes) -> dict[str, str]:
    pairs = [line.split(": ", 1) for line in lines.decode().split("\r\n") if line]
    return {name: value for name, value in pairs if name.startswith("access-control-")}


@given(
    origins=some(ORIGINS),
    methods=some(METHODS),
    headers=some(HEADERS),
    asks=st.tuples(st.sampled_from([*ORIGINS, "https://c.example", "null"]), st.sampled_from([*METHODS, "PATCH"])),
    credentials=st.booleans(),
    asked=st.none() | st.lists(st.sampled_from(["x-one", "authorization", "content-type", "x-two"]), min_size=1),
)
def test_preflights_are_answered_as_starlette_does(
    origins: list[str],
    methods: list[str],
    headers: list[str],
    asks: tuple[str, str],
    credentials: bool,
    asked: list[str] | None,
) -> None:
    origin, method = asks
    cors = Cors(origins=origins, methods=methods, headers=headers, allows_credentials=credentials)
    options: Any = {"allow_origins": origins, "allow_methods": methods, "allow_headers": headers}
    theirs = Starlette(middleware=[Middleware(CORSMiddleware, allow_credentials=credentials, **options)])
    told = {"Origin": origin, "Access-Control-Request-Method": method}
    told |= {"Access-Control-Request-Headers": ", ".join(asked)} if asked else {}
    answer = TestClient(theirs).options("/", headers=told)
    ours = cors.preflight(origin.encode(), method.encode(), told.get("Access-Control-Request-Headers", "").encode())
    assert (ours.status == 204) is (answer.status_code == 200)
    plain = read(cors.lines(origin.encode()))
    if ours.status == 204:
        assert plain.get("access-control-allow-origin") in (answer.headers["access-control-allow-origin"], "*")
        found = {*read(ours.headers).get("access-control-allow-headers", "").split(", ")}
        assert found >= {name for name in asked or ()}
        assert ("access-control-allow-credentials" in plain) is credentials
    simple = TestClient(theirs).get("/", headers={"Origin": origin})
    mine, their = plain.get("access-control-allow-origin"), simple.headers.get("access-control-allow-origin")
    assert mine == their or (credentials and origins == ["*"] and their == "*")


@pytest.mark.parametrize(
    "told",
    [
        {"origins": "https://a.example"},
        {"origins": ["a.example"]},
        {"origins": ["https://a.example/path"]},
        {"origins": ["https://a\r\nx: y"]},
        {"origins": ["*"], "methods": ["GET, POST"]},
        {"origins": ["*"], "headers": [3]},
    ],
)
def test_what_cannot_be_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Cors(**told)
