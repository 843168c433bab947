"""From a wish to a job. Pure."""

from lepton.core.launch import Devices
from lepton.jobs.preload import LIGHT
from lepton.jobs.spec import JobSpec, Role
from lepton.observe.spec import ObserveSpec


def plan_observe(spec: ObserveSpec) -> JobSpec:
    """The job that judges a capture; leaves `report/<name>` with `drifted` in its meta."""
    role = Role(
        name="observer",
        entry="lepton.observe.run:observe",
        preload=LIGHT,
        devices=Devices(cpu_milli=spec.cpu_milli),
    )
    inputs = {"model": spec.model, "capture": spec.capture}
    return JobSpec(roles=(role,), stage="observe", params=spec.to_json(), inputs=inputs)
