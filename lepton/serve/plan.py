"""From the wish for an endpoint to its job: one front and its workers, or one of both. Pure."""

from lepton.core.launch import Devices, Isolation
from lepton.jobs.preload import LIGHT
from lepton.jobs.spec import JobSpec, Role
from lepton.serve.entries import is_pickle, preload_of
from lepton.serve.spec import EndpointSpec

LEAST_DRAIN_S, AFTER_DRAIN_S = 8.0, 2.0


def plan(spec: EndpointSpec, *, endpoint: str, name: str) -> JobSpec:
    """The job that keeps the endpoint called `name`, with id `endpoint`, answering until it is stopped."""
    inputs = {"model": spec.model} if spec.model else {"code": spec.code} if spec.code else {}
    return JobSpec(
        roles=_roles(spec, endpoint),
        stage="serve",
        is_service=True,
        inputs=inputs,
        queue=spec.queue,
        priority=spec.priority,
        params={"endpoint": endpoint, "name": name, "spec": spec.to_json(), "drain_s": drain_s(spec)},
        grace_s=drain_s(spec) + AFTER_DRAIN_S,
    )


def drain_s(spec: EndpointSpec) -> float:
    """How long what an endpoint is at may take to end when it is to stop: as long as a request may."""
    return LEAST_DRAIN_S if spec.is_front else max(LEAST_DRAIN_S, spec.deadline_ms / 1000 + 1)


def _roles(spec: EndpointSpec, endpoint: str) -> tuple[Role, ...]:
    front = Role(
        name="front",
        entry="lepton.serve.gateway:main" if spec.is_front else "lepton.serve.front:main",
        preload=LIGHT,
        devices=Devices(cpu_milli=spec.front_cpu_milli),
        meets=endpoint if spec.is_front else "",
        is_host=spec.is_front,
        door=f"{spec.host}:{spec.port}",
        is_replaceable=True,
    )
    worker = Role(
        name="worker",
        entry="lepton.serve.run:main",
        preload=tuple(dict.fromkeys((*LIGHT, *preload_of(spec.entry), *spec.preload))),
        count=spec.replicas,
        devices=Devices(
            cpu_milli=spec.worker_cpu_milli,
            gpu_milli=spec.worker_gpu_milli,
            memory_bytes=spec.worker_memory_bytes,
        ),
        isolation=spec.isolation or (Isolation.CLOSED if is_pickle(spec.entry) else Isolation.OWN),
        meets=spec.front,
        is_replaceable=True,
    )
    if spec.is_front:
        return (front,)
    return (worker,) if spec.front else (front, worker)
