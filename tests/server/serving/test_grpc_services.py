"""gRPC beside plain calls: compressed messages, health as it changes, reflection and statistics, with real clients."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from lepton.serve.protocols.inference.schema import messages
from tests.server.serving.granting import open_platform
from tests.server.serving.house import House, open_house, open_service, rest_client, wait_until
from tests.server.serving.test_grpc import SERVICE, WAIT_S, ask, client_of, infer_message, place_of, rows, tensor

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
http = pytest.importorskip("tritonclient.http")
HEALTH = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with open_house() as house:
        assert house.address
        yield house


# compressed messages


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("count", [30, 40_000], ids=["small", "large"])
def test_compressed_calls_are_answered_as_plain_ones(sums: House, coding: str, count: int) -> None:
    a = np.arange(3 * count, dtype=np.float32).reshape(-1, 3)
    label = np.array([b"label"] * count, dtype=object)
    asked = [tensor("a", a, "FP32"), tensor("b", a.astype(np.int64), "INT64"), tensor("label", label, "BYTES")]
    with client_of(sums) as client:
        plain = client.infer("sums", asked)
        packed = client.infer("sums", asked, compression_algorithm=coding)
    assert packed.get_response() == plain.get_response()
    assert np.array_equal(packed.as_numpy("sum"), a + a)


def test_a_compressed_stream_is_answered_in_order(sums: House) -> None:
    sizes = [1, 40_000, 2, 30_000, 3]

    def message(size: int) -> bytes:
        inputs = [
            {"name": "a", "datatype": "FP32", "shape": [size, 3]},
            {"name": "b", "datatype": "INT64", "shape": [size, 3]},
            {"name": "label", "datatype": "BYTES", "shape": [size]},
        ]
        raw = [bytes(12 * size), bytes(24 * size), b"\x01\0\0\0x" * size]
        asked = messages()["ModelInferRequest"](model_name="sums", inputs=inputs, raw_input_contents=raw)
        return bytes(asked.SerializeToString())

    with grpc.insecure_channel(place_of(sums), compression=grpc.Compression.Gzip) as channel:
        call = channel.stream_stream(f"{SERVICE}ModelStreamInfer")
        answers = [messages()["ModelStreamInferResponse"].FromString(one) for one in call(map(message, sizes))]
    assert [one.infer_response.outputs[0].shape[0] for one in answers] == sizes


@pytest.mark.parametrize("path", ["ModelInfer", "ModelStreamInfer"])
def test_a_message_that_unpacks_to_more_than_the_limit_is_refused(path: str) -> None:
    for limit in (10_000, 1 << 20):
        with open_house(limits={"max_body_bytes": limit}) as house:
            for size in (limit + 1, 16 << 20):
                with grpc.insecure_channel(place_of(house), compression=grpc.Compression.Gzip) as channel:
                    call = getattr(channel, "unary_unary" if path == "ModelInfer" else "stream_stream")
                    asked = call(SERVICE + path)
                    with pytest.raises(grpc.RpcError) as told:
                        list(asked(iter([bytes(size)]))) if path != "ModelInfer" else asked(bytes(size), timeout=WAIT_S)
                assert told.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
                assert str(limit) in told.value.details()
            assert ask(house, f"{SERVICE}ModelInfer", infer_message())[0] == "OK"


@pytest.mark.parametrize("path", ["ModelInfer", "ModelStreamInfer"])
def test_nothing_is_unpacked_for_who_may_not_ask(path: str) -> None:
    with open_platform() as platform, open_house(env=platform.env, limits={"max_body_bytes": 100_000}) as house:
        for token, code in (("bad", "PERMISSION_DENIED"), ("good", "RESOURCE_EXHAUSTED"), ("bad", "PERMISSION_DENIED")):
            with grpc.insecure_channel(place_of(house), compression=grpc.Compression.Gzip) as channel:
                call = channel.stream_stream(SERVICE + path)
                with pytest.raises(grpc.RpcError) as told:
                    list(call(iter([bytes(8 << 20)]), metadata=[("authorization", f"Bearer {token}")], timeout=WAIT_S))
            assert told.value.code().name == code


# health


def named(service: bytes) -> bytes:
    """A request for one service's health."""
    return b"\x0a" + bytes([len(service)]) + service


def test_health_is_told_of_known_services_only(house: House) -> None:
    with grpc.insecure_channel(place_of(house)) as channel:
        for request in (b"", named(b""), named(b"inference.GRPCInferenceService")):
            assert channel.unary_unary(f"{HEALTH}Check")(request, timeout=WAIT_S) == SERVING
        with pytest.raises(grpc.RpcError) as fault:
            channel.unary_unary(f"{HEALTH}Check")(named(b"other"), timeout=WAIT_S)
        assert fault.value.code() == grpc.StatusCode.NOT_FOUND
        watched = channel.unary_stream(f"{HEALTH}Watch")(named(b"other"), timeout=WAIT_S)
        assert next(watched) == UNKNOWN
        watched.cancel()


def test_a_watch_tells_each_change_and_ends_with_the_front() -> None:
    with open_house() as house, grpc.insecure_channel(place_of(house)) as channel:
        watched = channel.unary_stream(f"{HEALTH}Watch")(b"", timeout=4 * WAIT_S)
        assert next(watched) == SERVING
        house.processes["1"].send_signal(signal.SIGKILL)
        assert next(watched) == NOT_SERVING
        house.start("1")
        assert next(watched) == SERVING
        house.processes["front"].send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as told:
            while next(watched) == NOT_SERVING:
                pass
        assert told.value.code() == grpc.StatusCode.UNAVAILABLE
        assert house.processes["front"].wait(WAIT_S) == 0


# reflection


def test_a_client_without_any_description_can_ask_the_model(house: House) -> None:
    reflection = pytest.importorskip("grpc_reflection.v1alpha.proto_reflection_descriptor_database")
    with grpc.insecure_channel(place_of(house)) as channel:
        database = reflection.ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        method = service.methods_by_name["ModelInfer"]
        assert service.methods_by_name["ModelStreamInfer"].server_streaming
        assert pool.FindMessageTypeByName("grpc.health.v1.HealthCheckResponse").enum_types_by_name["ServingStatus"]
        request = GetMessageClass(method.input_type).FromString(infer_message())
        answer = channel.unary_unary(f"{SERVICE}ModelInfer")(request.SerializeToString(), timeout=WAIT_S)
        told = GetMessageClass(method.output_type).FromString(answer)
        assert told.outputs[0].name == "logits"
        with pytest.raises(KeyError):
            pool.FindMessageTypeByName("inference.Nothing")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_each_question_of_a_reflection_is_answered_in_its_place(house: House, version: str) -> None:
    request, answer = messages()["ServerReflectionRequest"], messages()["ServerReflectionResponse"]
    asked = [
        request(host="a", list_services="*"),
        request(file_containing_symbol="inference.ModelInferRequest.InferInputTensor"),
        request(file_by_filename="none.proto"),
        request(all_extension_numbers_of_type="inference.ModelConfig"),
        request(),
    ]
    with grpc.insecure_channel(place_of(house)) as channel:
        call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        told = [answer.FromString(one) for one in call((one.SerializeToString() for one in asked), timeout=WAIT_S)]
    assert [one.WhichOneof("message_response") for one in told] == [
        "list_services_response",
        "file_descriptor_response",
        "error_response",
        "all_extension_numbers_response",
        "error_response",
    ]
    assert [one.original_request for one in told] == asked
    assert [told[at].error_response.error_code for at in (2, 4)] == [5, 12]


def test_a_message_that_is_no_question_ends_a_reflection(house: House) -> None:
    with grpc.insecure_channel(place_of(house)) as channel:
        call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as told:
            list(call(iter([b"\xff"]), timeout=WAIT_S))
        assert told.value.code() == grpc.StatusCode.INVALID_ARGUMENT


# statistics


def counts(house: House, of: Any, name: str = "", version: str = "") -> list[dict[str, Any]]:
    """The statistics as the client of that protocol gives them, numbers as numbers."""
    if of is http:
        with rest_client(house) as client:
            return list(client.get_inference_statistics(name, version)["model_stats"])
    with client_of(house) as client:
        found = client.get_inference_statistics(name, version)
    return [
        {
            "name": one.name,
            "version": one.version,
            "inference_count": one.inference_count,
            "execution_count": one.execution_count,
            "inference_stats": {
                phase: {
                    "count": getattr(one.inference_stats, phase).count,
                    "ns": getattr(one.inference_stats, phase).ns,
                }
                for phase in ("success", "fail", "compute_infer")
            },
            "batch_stats": [{"batch_size": each.batch_size} for each in one.batch_stats],
        }
        for one in found.model_stats
    ]


def test_statistics_are_those_of_all_replicas_by_either_protocol() -> None:
    with open_house(workers=2) as house, client_of(house) as client, rest_client(house) as rest:
        wait_until(lambda: b"lepton_workers_ready 2" in house.ask("GET", "/metrics")[1], "both are there", WAIT_S)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.infer("tiny", rows()), range(40)))
        rest.infer("tiny", rows(http))
        house.predict([[[0, 1], [5, 2]]])
        with pytest.raises(triton.InferenceServerException):  # rows without values: the model itself refuses
            client.infer("tiny", [tensor("x", np.zeros((0, 2, 2), dtype=np.uint8), "UINT8")])
        for of in (http, triton):
            [told] = counts(house, of)
            assert [told] == counts(house, of, "tiny", "3")
            assert [{**told, "name": "digits"}] == counts(house, of, "digits")
            assert (told["name"], told["version"], told["inference_count"]) == ("tiny", "3", 83)
            stats = told["inference_stats"]
            assert (stats["success"]["count"], stats["compute_infer"]["count"], stats["fail"]["count"]) == (42, 42, 1)
            assert stats["success"]["ns"] > stats["compute_infer"]["ns"] > 0
            assert 1 <= told["execution_count"] <= 42
            assert sum(1 for each in told["batch_stats"] if each["batch_size"] in (1, 2)) >= 1
            with pytest.raises(of.InferenceServerException):
                counts(house, of, "other")


def test_each_handler_has_its_statistics() -> None:
    with open_service("tensors.py:Tensors") as house:
        assert house.ask("GET", "/v2/models/stats")[1]["name"] == "stats"  # a model of that name
        assert counts(house, http, "stats")[0]["inference_count"] == 0
        text = tensor("text", np.array([b"a", b"bcd"], dtype=object), "BYTES")
        with client_of(house) as client:
            client.infer("embed", [text])
            with pytest.raises(triton.InferenceServerException):
                client.infer("embed", [tensor("text", np.array([b"bad"], dtype=object), "BYTES")])
        found = {one["name"]: one for one in counts(house, triton)}
        assert (found["embed"]["inference_count"], found["stats"]["inference_count"]) == (2, 0)
        for of in (http, triton):
            [alone] = counts(house, of, "embed", "1")
            assert alone["inference_count"] == 2
            assert alone["inference_stats"]["fail"]["count"] == 1


# bfloat16


def test_bfloat16_is_read_as_float32_and_answered_if_a_handler_returns_it() -> None:
    values = np.array([[1.5, -2.25, 0.0], [1e30, 3.0, -0.5]], dtype=np.float32)
    with open_service("tensors.py:Halves") as house, client_of(house) as client, rest_client(house) as rest:
        exact = rest.get_model_metadata("same")
        assert exact["inputs"] == [{"name": "x", "datatype": "BF16", "shape": [-1]}]
        for of, one in ((http, rest), (triton, client)):
            asked = [tensor("x", values, "BF16", of)]
            widened = one.infer("wide", asked).as_numpy("output")
            cut = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
            assert widened.dtype == np.float32
            assert np.array_equal(widened, cut)
            same = one.infer("same", asked)
            assert np.array_equal(same.as_numpy("output"), cut)
            datatype = same.get_output("output")["datatype"] if of is http else same.get_output("output").datatype
            assert datatype == "BF16"
