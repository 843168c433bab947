"""From a wish to a job. Pure."""

from lepton.core.launch import Devices
from lepton.jobs.preload import TORCH
from lepton.jobs.spec import JobSpec, Role
from lepton.optimize.spec import OptimizeSpec


def plan_optimize(spec: OptimizeSpec) -> JobSpec:
    """The job that exports and measures; leaves `model/<name>` and `report/<name>`."""
    role = Role(
        name="optimizer",
        entry="lepton.optimize.run:optimize",
        preload=TORCH,
        devices=Devices(cpu_milli=spec.cpu_milli),
    )
    inputs = {"model": spec.model, "dataset": spec.dataset}
    return JobSpec(roles=(role,), stage="optimize", params=spec.to_json(), inputs=inputs)
