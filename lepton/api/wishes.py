"""The wishes that cross the door about jobs: what is submitted, and how it is stopped."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from lepton.api.wire import MAYBE_NAME, MAYBE_REF, EnvName, Id, Name, Ref, Text, Wish

LABEL = r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$"
MAYBE_LABEL = f"^({LABEL.strip('^$')})?$"
Label = Annotated[str, Field(pattern=LABEL)]
LabelValue = Annotated[str, Field(max_length=200)]
Priority = Literal["high-3", "high-2", "high-1", "medium-3", "medium-2", "medium-1", "low-3", "low-2", "low-1"]
MOST_AFTER = 100
"""Jobs that one may wait for."""


ONE_PROGRAM: list[JsonValue] = [
    {
        "required": ["command"],
        "properties": {"command": {"minItems": 1, "prefixItems": [{"minLength": 1}]}, "function": {"const": ""}},
    },
    {"required": ["function"], "properties": {"function": {"minLength": 1}, "command": {"maxItems": 0}}},
]


class StandingIn(Wish):
    """Work: in which queue it waits, and how urgent it is."""

    queue: Annotated[
        str, Field(max_length=63, pattern=MAYBE_NAME, description="where it waits; empty: with all who name none")
    ] = ""
    priority: Priority = "medium-2"


class JobIn(StandingIn):
    """A job: a command, or a function that was uploaded as a version of kind `code`."""

    name: Name = "job"
    command: Annotated[list[Text], Field(max_length=4096)] = Field([])
    function: Annotated[
        str, Field(max_length=74, pattern=MAYBE_REF, description="reference to a `code` version, instead of a command")
    ] = ""
    workers: Annotated[int, Field(ge=1, le=4096)] = 1
    cpus: Annotated[float, Field(gt=0, le=4096, description="per worker")] = 1.0
    gpus: Annotated[float, Field(ge=0, le=64, description="per worker; a fraction only below 1")] = 0.0
    tpus: Annotated[float, Field(ge=0, le=64, description="per worker; a fraction only below 1")] = 0.0
    fpgas: Annotated[float, Field(ge=0, le=64, description="per worker; a fraction only below 1")] = 0.0
    memory_bytes: Annotated[int, Field(ge=0, le=1 << 50, description="per worker; 0: no limit")] = 0
    env: dict[EnvName, Text] = Field({})
    secrets: dict[EnvName, Name] = Field({}, description="environment variable -> name of a secret")
    inputs: dict[Name, Ref] = Field({}, description="name -> version, for `lepton.context().input(name)`")
    params: dict[str, Any] = Field({})
    retries: Annotated[int, Field(ge=0, le=1000)] = 0
    timeout_s: Annotated[float, Field(ge=0, le=1e8)] = 0.0
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    cwd: Annotated[str, Field(max_length=4096, pattern=r"^(/|$)", description="absolute; else: a fresh folder")] = ""
    isolation: Annotated[
        Literal["own", "closed"], Field(description="`closed`: its workers see only programs and what is their own")
    ] = "own"
    after: Annotated[
        list[Id], Field(max_length=MOST_AFTER, description="jobs to be done before; one that fails takes it along")
    ] = Field([])
    labels: dict[Label, LabelValue] = Field({}, description="labels that its nodes must have")
    within: Annotated[
        str, Field(pattern=MAYBE_LABEL, description="a label, e.g. `rack`: its nodes must have the same value of it")
    ] = ""
    can_resume: Annotated[
        bool, Field(description="stopped for another, it goes on from its checkpoint when it is started again")
    ] = False

    model_config = ConfigDict(json_schema_extra={"oneOf": ONE_PROGRAM})

    @model_validator(mode="after")
    def _has_one_program(self) -> Self:
        if bool(self.command) == bool(self.function):
            raise ValueError("A job needs either a command or a function", "Give exactly one of the two.")
        if self.command and not self.command[0]:
            raise ValueError("The command's program is empty", "Give a program, then its arguments.")
        return self


class LabelsIn(Wish):
    """Labels of a node."""

    labels: Annotated[
        dict[Label, LabelValue | None],
        Field(min_length=1, max_length=100, description="name -> value; null takes a label away"),
    ]


class StopIn(Wish):
    """How a job is to be stopped."""

    grace_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
