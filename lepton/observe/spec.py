"""The wish of station 5: which captured requests to compare with what the model was trained on."""

from dataclasses import dataclass

from lepton.core.ids import check_name
from lepton.jobs.wish import Wished, check_between


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveSpec(Wished):
    """Judge a sample of what an endpoint was asked, beside how it served in the same window."""

    model: str
    """Id of the model version that served."""
    capture: str
    """Id of a capture version of that endpoint."""
    name: str
    """Of the report; usually the endpoint's."""
    endpoint: str = ""
    """Id of the endpoint, for the alert; empty for a capture from elsewhere."""
    min_rows: int = 100
    """A smaller sample is described but not judged."""
    requests: int = 0
    """Answered in the window."""
    errors: int = 0
    """Of these, answered with an error."""
    window_s: float = 0.0
    """Length of the window; 0: nothing is known of the service."""
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_milli: int = 1000

    def __post_init__(self) -> None:
        check_name(self.name, "Report name")
        check_between("min_rows", self.min_rows, 20, 1 << 30)
        check_between("requests", self.requests, 0, 1 << 60)
        check_between("errors", self.errors, 0, self.requests)
        check_between("window_s", self.window_s, 0, 1e9)
        for name in ("p50_ms", "p95_ms", "p99_ms"):
            check_between(name, getattr(self, name), 0, 1e9)
        check_between("cpu_milli", self.cpu_milli, 1, 1 << 20)
