"""From the wish for an endpoint to its job: one front and its workers. Pure."""

from lepton.core.launch import Devices
from lepton.jobs.preload import LIGHT
from lepton.jobs.spec import JobSpec, Role
from lepton.serve.entries import preload_of
from lepton.serve.spec import EndpointSpec


def plan(spec: EndpointSpec, *, endpoint: str, name: str) -> JobSpec:
    """The job that keeps the endpoint called `name`, with id `endpoint`, answering until it is stopped."""
    front = Role(
        name="front",
        entry="lepton.serve.front:main",
        preload=LIGHT,
        devices=Devices(cpu_milli=spec.front_cpu_milli),
        is_replaceable=True,
    )
    worker = Role(
        name="worker",
        entry="lepton.serve.run:main",
        preload=(*LIGHT, *preload_of(spec.entry)),
        count=spec.replicas,
        devices=Devices(cpu_milli=spec.worker_cpu_milli),
        is_replaceable=True,
    )
    return JobSpec(
        roles=(front, worker),
        stage="serve",
        is_service=True,
        inputs={"model": spec.model} if spec.model else {"code": spec.code},
        params={"endpoint": endpoint, "name": name, "spec": spec.to_json()},
    )
