"""Wishes come back from JSON as they went, and refuse what cannot be; a plan names job, inputs and parameters."""

import json
from typing import Any

import pytest

from lepton.core.errors import InvalidError
from lepton.data.plan import plan_clean, plan_ingest
from lepton.data.spec import CleanSpec, IngestSpec
from lepton.jobs.spec import JobSpec

INGEST = IngestSpec(raw="ver_1", name="digits")
CLEAN = CleanSpec(dataset="ver_2", name="digits", classes=("a", "b"), test_share=0.5)


@pytest.mark.parametrize("spec", [INGEST, CLEAN])
def test_a_spec_survives_json(spec: IngestSpec | CleanSpec) -> None:
    assert type(spec).from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bad Name"},
        {"name": "n" * 60},
        {"classes": ["a", "a"]},
        {"classes": ["a"]},
        {"classes": "ab"},
        {"test_share": 1},
        {"test_share": "half"},
        {"test_share": float("nan")},
        {"seed": True},
        {"seed": 1.5},
        {"colour": "red"},
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as raised:
        CleanSpec.from_json({**CLEAN.to_json(), **change})
    assert raised.value.fix


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidError, match="raw"):
        IngestSpec.from_json({"name": "digits"})


def test_plans_name_entry_inputs_and_parameters() -> None:
    job = plan_ingest(INGEST)
    assert [role.entry for role in job.roles] == ["lepton.data.run:ingest"]
    assert dict(job.inputs) == {"raw": "ver_1"}
    assert IngestSpec.from_json(job.params) == INGEST
    assert dict(plan_clean(CLEAN).inputs) == {"dataset": "ver_2"}
    assert JobSpec.from_json(json.loads(json.dumps(job.to_json()))) == job
