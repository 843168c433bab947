"""From a wish to a job. Pure."""

from lepton.core.launch import Devices
from lepton.jobs.preload import TORCH
from lepton.jobs.spec import JobSpec, Role
from lepton.train.spec import TrainSpec


def plan_train(spec: TrainSpec) -> JobSpec:
    """The gang that trains the model; leaves `model/<name>`."""
    role = Role(
        name="trainer",
        count=spec.workers,
        entry="lepton.train.run:train",
        preload=TORCH,
        devices=Devices(cpu_milli=spec.cpu_milli),
    )
    return JobSpec(
        roles=(role,),
        stage="train",
        params=spec.to_json(),
        inputs={"dataset": spec.dataset},
        retries=spec.retries,
        can_resume=True,
    )
