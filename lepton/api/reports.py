"""What a worker reports of its job."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lepton.api.wire import Part, Wish

Micros = Annotated[int, Field(ge=0, lt=2**62)]
Step = Annotated[int, Field(ge=0, lt=2**62)]
MetricName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_./-]+$")]


class _Item(Part):
    """One thing that a worker tells."""


class MetricsItem(_Item):
    """Numbers of one step."""

    type: Literal["metrics"]
    step: Step
    at: Micros
    values: Annotated[dict[MetricName, float | None], Field(max_length=1000)]
    """null: a number that is not finite, as a loss that has run away."""


class ProgressItem(_Item):
    """How far the job is."""

    type: Literal["progress"]
    at: Micros
    fraction: Annotated[float, Field(ge=0, le=1)]
    text: Annotated[str, Field(max_length=500)] = ""


class ReadyItem(_Item):
    """A serving front answers."""

    type: Literal["ready"]
    at: Micros
    address: Annotated[str, Field(max_length=300)]


class ServedItem(Part):
    """Counters of a serving front over one window."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["served"]
    at: Micros
    requests: Annotated[int, Field(ge=0)]


Item = Annotated[MetricsItem | ProgressItem | ReadyItem | ServedItem, Field(discriminator="type")]


class ReportIn(Wish):
    """A batch of what a worker has to tell."""

    generation: Annotated[int, Field(ge=0, lt=1 << 31)]
    rank: Annotated[int, Field(ge=0, lt=4096)]
    first: Annotated[int, Field(ge=0, lt=1 << 62)]
    items: Annotated[list[Item], Field(max_length=1000)]
