"""The Open Inference Protocol over gRPC, at the port that speaks HTTP, with Triton's clients and with bare channels."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest

from lepton.serve.protocols.inference.schema import messages
from tests.server.serving.granting import open_platform
from tests.server.serving.house import House, Wire, open_house, rest_client, wait_until

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
http = pytest.importorskip("tritonclient.http")

SERVICE = "/inference.GRPCInferenceService/"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
ROWS = np.array([[[0, 1], [5, 2]], [[9, 0], [0, 0]]], dtype=np.uint8)
WAIT_S = 30


def place_of(house: House) -> str:
    host, port = house.address
    return f"{host.removeprefix('https://')}:{port}"


def client_of(house: House, **options: Any) -> Any:
    return triton.InferenceServerClient(place_of(house), **options)


def tensor(name: str, array: np.ndarray[Any, Any], datatype: str, of: Any = triton) -> Any:
    made = of.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def rows(of: Any = triton) -> list[Any]:
    return [tensor("x", ROWS, "UINT8", of)]


def infer_message(**fields: Any) -> bytes:
    told = {"name": "x", "datatype": "UINT8", "shape": [2, 2, 2]}
    plain = {"model_name": "tiny", "inputs": [told], "raw_input_contents": [ROWS.tobytes()], **fields}
    return bytes(messages()["ModelInferRequest"](**plain).SerializeToString())


def ask(
    house: House, method: str, message: bytes = b"", *, is_waiting: bool = False, **metadata: str
) -> tuple[str, str, dict[str, str]]:
    """Status, detail and trailer of one call over a channel of its own."""
    with grpc.insecure_channel(place_of(house), options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(method)
        given = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        try:
            _, told = call.with_call(message, timeout=WAIT_S, metadata=given, wait_for_ready=is_waiting)
        except grpc.RpcError as fault:
            told = fault
        return told.code().name, told.details(), dict(told.trailing_metadata() or ())


def infer(house: House, **metadata: str) -> tuple[str, str, dict[str, str]]:
    return ask(house, f"{SERVICE}ModelInfer", infer_message(), **metadata)


def test_the_server_and_its_model_tell_of_themselves(version: House) -> None:
    with client_of(version) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.get_server_metadata().name == "lepton"
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("tiny", "3")
        assert client.is_model_ready("digits")  # the endpoint's name
        about = client.get_model_metadata("tiny", as_json=True)
        config = client.get_model_config("tiny", as_json=True)["config"]
        index = client.get_model_repository_index(as_json=True)["models"]
        for name, number in (("tiny", "4"), ("other", "")):
            with pytest.raises(triton.InferenceServerException) as told:
                client.is_model_ready(name, number)
            assert told.value.status() == "StatusCode.NOT_FOUND"
    assert about["inputs"] == [{"name": "x", "datatype": "UINT8", "shape": ["-1", "2", "2"]}]
    assert about["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": ["-1", "4"]}]
    assert config["input"] == [{"name": "x", "data_type": "TYPE_UINT8", "dims": ["-1", "2", "2"]}]
    assert index == [{"name": "tiny", "version": "3", "state": "READY"}]


def test_one_port_answers_json_rest_and_grpc_alike(version: House) -> None:
    plain = [row["scores"] for row in version.predict(ROWS.tolist())[1]["outputs"]]
    with client_of(version) as client, rest_client(version) as rest:
        answer = client.infer("tiny", rows(), request_id="r-1")
        other = rest.infer("tiny", rows(http))
        assert rest.get_model_config("tiny")["input"][0]["data_type"] == "TYPE_UINT8"
        assert rest.get_model_repository_index() == [{"name": "tiny", "version": "3", "state": "READY"}]
    assert answer.get_response().id == "r-1"
    assert np.array_equal(answer.as_numpy("logits"), other.as_numpy("logits"))
    assert np.allclose(answer.as_numpy("logits"), plain, atol=1e-6)


def test_triton_s_asyncio_client_asks_many_at_once(version: House) -> None:
    from tritonclient.grpc import aio  # noqa: PLC0415  its channel belongs to this loop

    async def course() -> list[Any]:
        async with aio.InferenceServerClient(place_of(version)) as client:
            return list(await asyncio.gather(*(client.infer("tiny", rows(), request_id=str(n)) for n in range(100))))

    answers = asyncio.run(course())
    assert [one.get_response().id for one in answers] == [str(n) for n in range(100)]
    assert all(np.array_equal(one.as_numpy("logits"), answers[0].as_numpy("logits")) for one in answers)


def test_a_stream_answers_in_order_and_tells_faults_in_their_place(version: House) -> None:
    told: Queue[Any] = Queue()
    with client_of(version) as client:
        client.start_stream(lambda result, error: told.put((result, error)))
        for number in range(200):
            client.async_stream_infer("tiny" if number % 50 != 7 else "none", rows(), request_id=str(number))
        client.stop_stream()
        found = [told.get(timeout=WAIT_S) for _ in range(200)]
        client.start_stream(lambda result, error: told.put((result, error)))
        client.async_stream_infer("tiny", rows(), enable_empty_final_response=True)
        last, _ = told.get(timeout=WAIT_S)
        client.stop_stream()
    good = [int(result.get_response().id) for result, error in found if error is None]
    assert good == [n for n in range(200) if n % 50 != 7]
    assert [n for n, (_, error) in enumerate(found) if error is not None] == [7, 57, 107, 157]
    assert "no model 'none'" in str(found[7][1])
    assert last.get_response().parameters["triton_final_response"].bool_param


def test_several_tensors_of_several_types_pass_both_ways(sums: House) -> None:
    a = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    b = np.array([[1, 1, 1], [-1, 0, 1 << 20]], dtype=np.int64)
    label = np.array([b"one", "zw\u00f6lf".encode()], dtype=object)
    with client_of(sums) as client:
        asked = [tensor("a", a, "FP32"), tensor("b", b, "INT64"), tensor("label", label, "BYTES")]
        answer = client.infer("shop", asked)
        one = client.infer("sums", asked, outputs=[triton.InferRequestedOutput("same")])
        with pytest.raises(triton.InferenceServerException, match="no output 'z'"):
            client.infer("sums", asked, outputs=[triton.InferRequestedOutput("z")])
    assert np.array_equal(answer.as_numpy("sum"), a + b.astype(np.float32))
    assert answer.as_numpy("same").tolist() == label.tolist()
    assert [output.name for output in one.get_response().outputs] == ["same"]


def test_typed_contents_are_read_as_raw_ones_are(sums: House) -> None:
    shape = [1, 3]
    inputs = [
        {"name": "a", "datatype": "FP32", "shape": shape, "contents": {"fp32_contents": [1, 2, 3]}},
        {"name": "b", "datatype": "INT64", "shape": shape, "contents": {"int64_contents": [1, 1, -1]}},
        {"name": "label", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"x"]}},
    ]
    asked = messages()["ModelInferRequest"](model_name="sums", inputs=inputs)
    with grpc.insecure_channel(place_of(sums)) as channel:
        body = channel.unary_unary(f"{SERVICE}ModelInfer")(asked.SerializeToString(), timeout=WAIT_S)
    answer = messages()["ModelInferResponse"].FromString(body)
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [2, 3, 2]
    assert answer.raw_output_contents[1] == b"\x01\x00\x00\x00x"


X = {"name": "x", "datatype": "UINT8", "shape": [2, 2, 2]}
HIDDEN = {"shared_memory_region": {"string_param": "r"}}


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"inputs": [{**X, "name": "y"}]}, "INVALID_ARGUMENT", "'y'"),
        ({"inputs": [], "raw_input_contents": []}, "INVALID_ARGUMENT", "'x' is missing"),
        ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "1 inputs and 2 raw"),
        ({"raw_input_contents": [b"1234567"]}, "INVALID_ARGUMENT", "do not fill"),
        ({"inputs": [{**X, "shape": [2, 2, -2]}]}, "INVALID_ARGUMENT", "no tensor"),
        ({"inputs": [{**X, "shape": [2, 4]}]}, "INVALID_ARGUMENT", "shape"),
        ({"inputs": [{**X, "datatype": "INT8"}]}, "INVALID_ARGUMENT", "not UINT8"),
        ({"inputs": [{**X, "datatype": "COMPLEX"}]}, "INVALID_ARGUMENT", "COMPLEX"),
        ({"inputs": [{**X, "parameters": HIDDEN}]}, "INVALID_ARGUMENT", "shared memory"),
        ({"inputs": [{**X, "contents": {"uint_contents": [1]}}]}, "INVALID_ARGUMENT", "contents, and raw ones"),
        ({"inputs": [{**X, "contents": {"uint_contents": [256] * 8}}], "raw_input_contents": []}, "", "no UINT8"),
        ({"inputs": [{**X, "datatype": "FP16"}], "raw_input_contents": []}, "", "no typed contents"),
        ({"outputs": [{"name": "z"}]}, "INVALID_ARGUMENT", "'z'"),
        ({"inputs": [X, X], "raw_input_contents": [b"12345678"] * 2}, "", "input 'x' is there twice"),
        ({"outputs": [{"name": "logits"}, {"name": "logits"}]}, "", "output 'logits' is there twice"),
        ({"model_name": "none"}, "NOT_FOUND", "'none'"),
        ({"model_name": ""}, "NOT_FOUND", "''"),
        ({"model_version": "9"}, "NOT_FOUND", "version"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    version: House, fields: dict[str, Any], status: str, word: str
) -> None:
    code, detail, _ = ask(version, f"{SERVICE}ModelInfer", infer_message(**fields))
    assert (code, word in detail) == (status or "INVALID_ARGUMENT", True), detail


def test_bytes_that_are_no_message_are_refused(version: House) -> None:
    for body in (b"\xff" * 40, b"\x0a\xff", infer_message()[:-3], b"\x0a\x02\xff\xfe"):
        code, detail, trailer = ask(version, f"{SERVICE}ModelInfer", body)
        assert (code, trailer["lepton-code"]) == ("INVALID_ARGUMENT", "invalid")
        assert "ModelInferRequest" in detail


def test_unknown_methods_are_unimplemented(version: House) -> None:
    for method in (f"{SERVICE}ModelTrain", "/other.Service/Call", f"{SERVICE}RepositoryModelLoad"):
        assert ask(version, method)[0] == "UNIMPLEMENTED"


def test_the_standard_health_service_says_serving(version: House) -> None:
    with grpc.insecure_channel(place_of(version)) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=WAIT_S) == b"\x08\x01"


def test_every_answer_names_its_request(version: House) -> None:
    code, _, trailer = infer(version, x_request_id="mine-1")
    assert (code, trailer["x-request-id"]) == ("OK", "mine-1")
    assert ask(version, f"{SERVICE}ModelInfer", b"\xff", x_request_id="mine-2")[2]["x-request-id"] == "mine-2"
    assert len(infer(version)[2]["x-request-id"]) > 8


def test_a_message_over_the_limit_is_refused_and_others_are_served() -> None:
    with open_house(limits={"max_body_bytes": 4096}) as house:
        for size in (5000, 1 << 20, 8 << 20):
            code, detail, _ = ask(house, f"{SERVICE}ModelInfer", infer_message(raw_input_contents=[b"0" * size]))
            assert (code, "4096" in detail) == ("RESOURCE_EXHAUSTED", True)
        packed = grpc.insecure_channel(place_of(house), compression=grpc.Compression.Gzip)
        with packed, pytest.raises(grpc.RpcError) as told:
            packed.unary_unary(f"{SERVICE}ModelInfer")(b"0" * (1 << 20), timeout=WAIT_S)
        assert told.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert infer(house)[0] == "OK"


def test_large_messages_pass_both_ways(sums: House) -> None:
    a = np.arange(400_002, dtype=np.float32).reshape(-1, 3)
    b = np.ones_like(a, dtype=np.int64)
    label = np.array([b"label"] * len(a), dtype=object)
    asked = [tensor("a", a, "FP32"), tensor("b", b, "INT64"), tensor("label", label, "BYTES")]
    with client_of(sums) as client:
        for _ in range(3):
            assert np.array_equal(client.infer("sums", asked).as_numpy("sum"), a + 1)


def test_a_preface_that_comes_byte_by_byte_is_understood(version: House) -> None:
    with Wire(version.address) as wire:
        for byte in PREFACE + SETTINGS:
            wire.send(bytes([byte]))
        wire.socket.settimeout(WAIT_S)
        assert wire.socket.recv(9)[3] == 4  # a frame of settings
    for first in (b"P", b"PR", b"PRI"):
        with Wire(version.address) as wire:
            wire.send(first)
            wire.send(b"X * HTTP/2.0\r\n\r\n")
            assert wire.read()[0] == 400
    with Wire(version.address) as wire:
        body = json.dumps({"inputs": ROWS.tolist()}).encode()
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        for byte in head:
            wire.send(bytes([byte]))
        assert wire.ask(body)[0] == 200


def test_a_preface_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with open_house(limits={"head_s": 0.3}) as house, Wire(house.address) as wire:
        wire.send(PREFACE[:10])
        assert wire.read()[0] == 408
        with Wire(house.address) as other:
            other.send(PREFACE)
            assert other.is_closed()


def test_garbage_after_the_preface_ends_that_connection_only(version: House) -> None:
    with Wire(version.address) as wire:
        wire.send(PREFACE + b"\xff" * 4096)
        assert wire.is_closed()
    with Wire(version.address) as wire:
        wire.send(PREFACE[:-3] + b"XX\r\n\r\n")
        assert wire.is_closed()
    assert infer(version)[0] == "OK"


def test_where_protobuf_is_not_installed_methods_are_unimplemented(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['google.protobuf'] = sys.modules['grpc'] = None\n"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    with open_house(env={"PYTHONPATH": os.pathsep.join(paths)}) as house:
        code, detail, _ = infer(house)
        assert (code, "Open Inference Protocol" in detail) == ("UNIMPLEMENTED", True)
        assert ask(house, f"{SERVICE}ServerReady")[0] == "OK"
        assert house.predict(ROWS.tolist())[0] == 200


def test_what_is_not_grpc_is_told_so_by_its_status(version: House) -> None:
    url = f"http://{place_of(version)}/predict"
    for arguments in ([], ["-d", "{}"]):
        command = ["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]
        found = subprocess.run([*command, *arguments, url], capture_output=True, text=True, timeout=WAIT_S, check=False)
        if "HTTP/2" in found.stderr and found.returncode == 2:
            pytest.skip("this curl has no HTTP/2")
        assert found.stdout == "415 2", found.stderr


def test_over_tls_grpc_and_http_share_the_port(pair: tuple[Path, Path]) -> None:
    cert, key = pair
    with open_house(tls_cert=str(cert), tls_key=str(key)) as house:
        host, port = house.address
        place = f"{host.removeprefix('https://')}:{port}"
        with triton.InferenceServerClient(place, ssl=True, root_certificates=str(cert)) as client:
            a = np.zeros((300_000, 2, 2), dtype=np.uint8)
            assert client.infer("tiny", [tensor("x", a, "UINT8")]).as_numpy("logits").shape == (300_000, 4)
            assert client.is_server_ready()
        for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["h2"], "h2"), (["http/1.1"], "http/1.1")):
            context = ssl.create_default_context(cafile=str(cert))
            context.set_alpn_protocols(offered)
            plain = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as line:
                assert line.selected_alpn_protocol() == chosen


def test_tokens_are_checked_as_over_http() -> None:
    with open_platform() as platform, open_house(env=platform.env) as house:
        assert ask(house, f"{SERVICE}ServerLive")[0] == "OK"
        code, detail, trailer = infer(house)
        assert (code, trailer["lepton-code"]) == ("UNAUTHENTICATED", "unauthenticated")
        assert "Bearer" in detail
        for _ in range(2):
            assert infer(house, authorization="Bearer good")[0] == "OK"
            assert infer(house, authorization="Bearer bad")[0] == "PERMISSION_DENIED"
            assert ask(house, f"{SERVICE}ModelReady", authorization="Bearer bad")[0] == "PERMISSION_DENIED"
        assert platform.asked == ["good", "bad"]
        assert infer(house, authorization=f"Bearer {platform.sign()}")[0] == "OK"
        code, detail, _ = infer(house, authorization=f"Bearer {platform.sign(audience='ep_2')}")
        assert (code, "ep_2" in detail) == ("UNAUTHENTICATED", True)
        with client_of(house) as client:
            told: Queue[Any] = Queue()
            client.start_stream(lambda result, error: told.put(error))
            client.async_stream_infer("tiny", rows())
            assert told.get(timeout=WAIT_S).status() == "StatusCode.UNAUTHENTICATED"
            client.stop_stream()


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_who_may_not_come_in_is_told_before_a_message_comes(method: str) -> None:
    with (
        open_platform() as platform,
        open_house(env=platform.env) as house,
        grpc.insecure_channel(place_of(house)) as channel,
    ):
        for token, wanted in (("", "UNAUTHENTICATED"), ("Bearer bad", "PERMISSION_DENIED"), ("Bearer good", "OK")):
            told: Queue[bytes | None] = Queue()
            metadata = (("authorization", token),) if token else ()
            messages = iter(told.get, None)
            call = channel.stream_stream(f"{SERVICE}{method}")(messages, timeout=WAIT_S, metadata=metadata)
            if wanted == "OK":
                wait_until(lambda: platform.asked.count("good"), "it is asked about", WAIT_S)
                told.put(infer_message())
            else:
                assert call.code().name == wanted
            told.put(None)
            assert wanted != "OK" or len(list(call)) == 1
            assert call.code().name == wanted


def test_a_rate_is_kept_over_grpc_and_counted_with_http() -> None:
    with open_house(rate_per_s=1, burst=3) as house:
        assert house.predict(ROWS.tolist())[0] == 200
        found = [infer(house) for _ in range(4)]
        assert [code for code, _, _ in found] == ["OK", "OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
        assert (found[-1][2]["lepton-code"], found[-1][2]["retry-after"]) == ("rate", "1")


def test_addresses_are_checked_before_the_protocol() -> None:
    with open_house(allow=["10.0.0.0/8"]) as house:
        assert infer(house)[0] == "UNAVAILABLE"


@pytest.fixture
def stopped() -> Iterator[House]:
    """An endpoint whose worker stands still."""
    with open_house(deadline_ms=60_000) as house:
        assert infer(house)[0] == "OK"
        house.processes["1"].send_signal(signal.SIGSTOP)
        yield house


def metrics(house: House) -> str:
    return str(house.ask("GET", "/metrics")[1], "utf-8")


def test_a_call_that_is_cancelled_or_late_is_given_up(stopped: House) -> None:
    with grpc.insecure_channel(place_of(stopped)) as channel:
        method = channel.unary_unary(f"{SERVICE}ModelInfer")
        call = method.future(infer_message(), timeout=WAIT_S)
        wait_until(lambda: "requests_held 1" in metrics(stopped), "the worker has it", WAIT_S)
        call.cancel()
        wait_until(lambda: 'dropped_total{why="gone"} 1' in metrics(stopped), "it is given up", WAIT_S)
        with pytest.raises(grpc.RpcError) as told:
            method(infer_message(), timeout=0.3)
        assert told.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: 'dropped_total{why="gone"} 2' in metrics(stopped), "so is this", WAIT_S)
        stopped.processes["1"].send_signal(signal.SIGCONT)
        assert infer(stopped)[0] == "OK"


def test_a_client_that_goes_gives_up_its_calls(stopped: House) -> None:
    channel = grpc.insecure_channel(place_of(stopped))
    call = channel.unary_unary(f"{SERVICE}ModelInfer").future(infer_message(), timeout=WAIT_S)
    wait_until(lambda: "requests_held 1" in metrics(stopped), "the worker has it", WAIT_S)
    channel.close()
    assert call.done() or call.exception(WAIT_S) is not None
    wait_until(lambda: 'dropped_total{why="gone"} 1' in metrics(stopped), "it is given up", WAIT_S)
    wait_until(lambda: "lepton_connections 1\n" in metrics(stopped), "its connection is forgotten", WAIT_S)


def test_a_front_that_is_told_to_stop_answers_what_is_open(stopped: House) -> None:
    with grpc.insecure_channel(place_of(stopped)) as channel:
        call = channel.unary_unary(f"{SERVICE}ModelInfer").future(infer_message(), timeout=WAIT_S)
        wait_until(lambda: "requests_held 1" in metrics(stopped), "the worker has it", WAIT_S)
        stopped.processes["front"].send_signal(signal.SIGTERM)
        stopped.processes["1"].send_signal(signal.SIGCONT)
        assert call.result(WAIT_S)
        assert stopped.processes["front"].wait(WAIT_S) == 0
    assert "Traceback" not in stopped.log()


def test_predictions_and_tensors_are_computed_together(stopped: House) -> None:
    with grpc.insecure_channel(place_of(stopped)) as channel, ThreadPoolExecutor(1) as pool:
        plain = pool.submit(stopped.predict, ROWS.tolist())
        wait_until(lambda: "requests_held 1" in metrics(stopped), "the worker has one", WAIT_S)
        call = channel.unary_unary(f"{SERVICE}ModelInfer").future(infer_message(), timeout=WAIT_S)
        wait_until(lambda: "requests_held 2" in metrics(stopped), "the worker has both", WAIT_S)
        stopped.processes["1"].send_signal(signal.SIGCONT)
        answer = messages()["ModelInferResponse"].FromString(call.result(WAIT_S))
        status, told, _ = plain.result()
    scores = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(-1, 4)
    assert status == 200
    assert np.allclose([row["scores"] for row in told["outputs"]], scores, atol=1e-6)
    assert "lepton_rows_total 6" in metrics(stopped)  # two of the fixture's call, two of each of these


def test_the_endpoints_own_deadline_ends_a_call() -> None:
    with open_house(deadline_ms=1500) as house:
        assert infer(house)[0] == "OK"
        house.processes["1"].send_signal(signal.SIGSTOP)
        code, detail, trailer = infer(house)
        assert (code, trailer["lepton-code"]) == ("DEADLINE_EXCEEDED", "deadline")
        assert "deadline_ms" in detail


def test_a_worker_that_is_killed_makes_its_calls_unavailable_or_another_answers() -> None:
    with open_house(deadline_ms=1500) as house:
        assert infer(house)[0] == "OK"
        house.processes["1"].send_signal(signal.SIGKILL)
        house.processes["1"].wait(WAIT_S)
        wait_until(lambda: "workers_ready 0" in metrics(house), "the front knows", WAIT_S)
        code, detail, trailer = infer(house)
        assert (code, trailer["lepton-code"]) == ("UNAVAILABLE", "unavailable"), detail
        house.start("1")
        wait_until(lambda: "workers_ready 1" in metrics(house), "it is back", WAIT_S)
        assert infer(house)[0] == "OK"


def test_what_comes_before_the_first_worker_waits_for_it() -> None:
    with open_house(workers=0) as house:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        house.processes["front"].kill()
        house.processes["front"].wait(WAIT_S)
        house.env["LEPTON_ADDRESS"] = f"127.0.0.1:{port}"
        house.start("front")
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            ready = channel.unary_unary(f"{SERVICE}ServerReady")(b"", timeout=WAIT_S, wait_for_ready=True)
            assert ready == b""
            call = channel.unary_unary(f"{SERVICE}ModelInfer").future(infer_message(), timeout=WAIT_S)
            house.start("1")
            assert call.result(WAIT_S)
