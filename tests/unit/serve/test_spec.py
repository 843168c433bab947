"""An endpoint's wish is validated, survives JSON, and becomes one front and its workers."""

from typing import Any

import pytest

from lepton.core.errors import InvalidError
from lepton.jobs.spec import JobSpec
from lepton.serve.plan import plan
from lepton.serve.spec import RANGES, EndpointSpec

MODEL = "ver_00000000000000000000000001"


def test_a_spec_survives_json() -> None:
    spec = EndpointSpec(model=MODEL, replicas=3, port=8080, max_batch=8, capture_rows=0)
    assert EndpointSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("step", [-1, 1])
def test_a_number_outside_its_range_is_refused_and_its_edge_is_not(name: str, step: int) -> None:
    edge = RANGES[name][0 if step < 0 else 1]
    EndpointSpec.from_json({"model": MODEL, name: edge})
    with pytest.raises(InvalidError, match=name):
        EndpointSpec.from_json({"model": MODEL, name: edge + step})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "digits"},
        {"model": 7},
        {"model": MODEL, "replicas": True},
        {"model": MODEL, "replicas": "2"},
        {"model": MODEL, "max_batch": 1.5},
        {"model": MODEL, "host": ""},
        {"model": MODEL, "colour": "red"},
        {"model": MODEL, "preload": ["os; x"]},
        {"model": MODEL, "preload": ["a"] * 17},
        {"model": MODEL, "is_front": True},
        {"is_front": True, "front": "ep_00000000000000000000000001"},
        {"model": MODEL, "front": "edge"},
        {"model": MODEL, "hosts": ["a.example"]},
        {"model": MODEL, "tls_cert": "chain.pem", "tls_key": "/etc/key.pem"},
        {"model": MODEL, "front": "ep_00000000000000000000000001", "port": 80},
        {"model": MODEL, "front": "ep_00000000000000000000000001", "hosts": ["A.example"]},
        {"model": MODEL, "front": "ep_00000000000000000000000001", "hosts": ["a.example", "a.example"]},
    ],
)
def test_what_is_no_wish_is_refused_with_a_way_out(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        EndpointSpec.from_json(fields)
    assert caught.value.fix


def test_a_front_has_no_workers_and_who_shares_it_no_front() -> None:
    front = EndpointSpec(is_front=True, port=8443)
    shared = EndpointSpec(model=MODEL, front="ep_00000000000000000000000001", hosts=("a.example",), preload=("torch",))
    for spec, roles in ((front, ["front"]), (shared, ["worker"])):
        assert EndpointSpec.from_json(spec.to_json()) == spec
        job = plan(spec, endpoint="ep_00000000000000000000000002", name="x")
        assert [role.name for role in job.roles] == roles
        assert JobSpec.from_json(job.to_json()) == job
    assert "torch" in plan(shared, endpoint="ep_00000000000000000000000002", name="x").roles[0].preload


def test_the_plan_is_a_service_of_one_front_and_the_workers() -> None:
    spec = EndpointSpec(model=MODEL, replicas=3, worker_cpu_milli=2000)
    job = plan(spec, endpoint="ep_00000000000000000000000001", name="digits")
    assert [(role.name, role.count, role.entry) for role in job.roles] == [
        ("front", 1, "lepton.serve.front:main"),
        ("worker", 3, "lepton.serve.run:main"),
    ]
    assert job.is_service
    assert job.stage == "serve"
    assert job.inputs == {"model": MODEL}
    assert [role.devices.cpu_milli for role in job.roles] == [100, 2000]
    assert EndpointSpec.from_json(job.params["spec"]) == spec
    assert JobSpec.from_json(job.to_json()) == job


def test_replicas_of_a_pickle_are_held_closed_unless_told_and_fronts_never_are() -> None:
    def held(entry: str, **more: str) -> list[str]:
        spec = EndpointSpec(code=MODEL, entry=entry, **more)  # type: ignore[arg-type]
        return [role.isolation for role in plan(spec, endpoint="ep_00000000000000000000000001", name="x").roles]

    assert held("photon:a.photon") == ["own", "closed"]
    assert held("photon:a.py:A") == held("a.py") == held("photon:a.py", isolation="own") == ["own", "own"]
    with pytest.raises(InvalidError, match="is a pickle"):
        held("photon:a.photon", isolation="own")
    assert held("a.py", isolation="closed") == ["own", "closed"]
    with pytest.raises(InvalidError, match="no isolation"):
        held("a.py", isolation="off")


def test_what_a_worker_may_use_is_asked_for_it_alone() -> None:
    spec = EndpointSpec(model=MODEL, worker_gpu_milli=500, worker_memory_bytes=1 << 30)
    front, worker = plan(spec, endpoint="ep_00000000000000000000000001", name="x").roles
    assert (front.devices.gpu_milli, front.devices.memory_bytes) == (0, 0)
    assert (worker.devices.gpu_milli, worker.devices.memory_bytes) == (500, 1 << 30)


def test_a_gang_that_stops_has_as_long_as_a_request_may_take() -> None:
    def bounds(**wish: Any) -> tuple[float, Any]:
        job = plan(EndpointSpec(**wish), endpoint="ep_00000000000000000000000002", name="x")
        return job.grace_s, job.params["drain_s"]

    assert bounds(model=MODEL) == (33, 31)
    assert bounds(model=MODEL, deadline_ms=2000) == (10, 8)
    assert bounds(model=MODEL, deadline_ms=60_000) == (63, 61)
    assert bounds(is_front=True) == (10, 8)
