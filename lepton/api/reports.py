"""The items of a worker's report, checked one by one."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lepton.api.wording import fields_beside, invalid

Micros = Annotated[int, Field(ge=0, lt=2**62)]
Step = Annotated[int, Field(ge=0, lt=2**62)]
MetricName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_./-]+$")]


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


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


class ServedItem(BaseModel):
    """Counters of a serving front over one window."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["served"]
    at: Micros
    requests: Annotated[int, Field(ge=0)]


Item = Annotated[MetricsItem | ProgressItem | ReadyItem | ServedItem, Field(discriminator="type")]
ITEMS: TypeAdapter[list[MetricsItem | ProgressItem | ReadyItem | ServedItem]] = TypeAdapter(list[Item])


FORMS = {"metrics": MetricsItem, "progress": ProgressItem, "ready": ReadyItem}


def read_items(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items of a report.

    Raises:
        InvalidError: one of them is malformed; the message names it.
    """
    try:
        return [item.model_dump() for item in ITEMS.validate_python(items)]
    except ValidationError as fault:
        findings = [{**found, "loc": ("body", "items", *found["loc"])} for found in fault.errors()]
        raise invalid(findings, lambda where: fields_beside(FORMS.get(str(where[-2])), where[-2:])) from fault
