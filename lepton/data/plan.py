"""From a wish to a job. Pure."""

from lepton.core.launch import Devices
from lepton.data.spec import CleanSpec, IngestSpec
from lepton.jobs.preload import LIGHT
from lepton.jobs.spec import JobSpec, Role


def plan_ingest(spec: IngestSpec) -> JobSpec:
    """The job that reads a raw file; leaves `dataset/<name>`."""
    return _job("lepton.data.run:ingest", spec, {"raw": spec.raw})


def plan_clean(spec: CleanSpec) -> JobSpec:
    """The job that checks a dataset; leaves `dataset/<name>`, `dataset/<name>-quarantine` and `report/<name>`."""
    return _job("lepton.data.run:clean", spec, {"dataset": spec.dataset})


def _job(entry: str, spec: IngestSpec | CleanSpec, inputs: dict[str, str]) -> JobSpec:
    role = Role(name="data", entry=entry, preload=LIGHT, devices=Devices(cpu_milli=spec.cpu_milli))
    return JobSpec(roles=(role,), stage="data", params=spec.to_json(), inputs=inputs)
