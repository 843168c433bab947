"""What a front counts: plain integers on the hot path, made into text only when somebody asks. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import log2

STEPS = 8
"""Buckets in each doubling of time, so a quantile is within 9 % of the truth."""
BUCKETS = 27 * STEPS
"""From 1 microsecond to over two minutes."""
USUAL = 1 << 13
"""Micros: the place of shorter times is looked up."""
USUAL_S = USUAL / 1e6
PLACES = [int(log2(max(1, micros)) * STEPS) for micros in range(USUAL + 1)]
SHOWN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter:
    """Counters of one front. Times are in seconds."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        """Answers to predictions, by status."""
        self.pages: Counter[int] = Counter()
        """All other answers, by status."""
        self.batches: Counter[str] = Counter()
        """By why they were sent."""
        self.sent = 0
        """Requests in these batches."""
        self.rows = 0
        self.retries = 0
        self.dropped: Counter[str] = Counter()
        """Requests that have no answer of a worker: `late`, `busy`, `overload`, `rate`, `quota`, `gone`."""
        self.told: Counter[str] = Counter()
        """What the workers' programs count, e.g. tokens; summed over all that ever were."""
        self.total_s = 0.0
        self.histogram = [0] * BUCKETS

    def predicted(self, status: int, seconds: float, rows: int) -> None:
        """Count one answer to a prediction."""
        self.answers[status] += 1
        self.rows += rows
        self.total_s += seconds
        self.histogram[PLACES[int(seconds * 1e6)] if 0 <= seconds < USUAL_S else bucket(seconds)] += 1

    def predicted_all(self, answers: Sequence[tuple[int, float, int]]) -> None:
        """Count answers to predictions, at least one: status, seconds and rows of each."""
        if len(answers) == 1:
            self.predicted(*answers[0])
            return
        statuses, times, rows = zip(*answers, strict=True)
        for status in set(statuses):
            self.answers[status] += statuses.count(status)
        self.rows += sum(rows)
        self.total_s += sum(times)
        histogram = self.histogram
        for seconds in times:
            histogram[PLACES[int(seconds * 1e6)] if 0 <= seconds < USUAL_S else bucket(seconds)] += 1


def bucket(seconds: float) -> int:
    """The place of a time in the histogram."""
    micros = seconds * 1e6
    if micros < USUAL:
        return PLACES[int(micros)] if micros > 0 else 0
    return min(int(log2(micros) * STEPS), BUCKETS - 1)


def quantile(histogram: Sequence[int], fraction: float) -> float:
    """The time, in seconds, that `fraction` of what was counted stays under; 0 if nothing was."""
    left = sum(histogram) * fraction
    for place, count in enumerate(histogram):
        left -= count
        if count and left <= 0:
            return float(2 ** ((place + 0.5) / STEPS) / 1e6)
    return 0.0


class Window:
    """What was counted since the last look."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._answers = Counter(meter.answers)
        self._rows = meter.rows
        self._histogram = list(meter.histogram)

    @property
    def has_news(self) -> bool:
        """Whether anything was answered since the last look."""
        return not dict.__eq__(self._meter.answers, self._answers)  # a counter's own takes twenty times as long

    def close(self, seconds: float, queue: int) -> dict[str, float]:
        """The numbers since the last call, and begin anew; empty if nobody was answered."""
        meter = self._meter
        answers = meter.answers - self._answers
        histogram = [now - then for now, then in zip(meter.histogram, self._histogram, strict=True)]
        rows = meter.rows - self._rows
        self._answers, self._rows, self._histogram = Counter(meter.answers), meter.rows, list(meter.histogram)
        if not answers:
            return {}
        return {
            "requests": answers.total(),
            "errors": sum(count for status, count in answers.items() if status >= 500),
            "refused": sum(count for status, count in answers.items() if 400 <= status < 500),
            "rows": rows,
            "seconds": round(seconds, 3),
            **{f"p{part}_ms": round(quantile(histogram, part / 100) * 1000, 3) for part in (50, 95, 99)},
            "queue": queue,
        }


def render_metrics(meter: Meter, gauges: Mapping[str, float], more: Iterable[str] = ()) -> bytes:
    """All counters in the text format of Prometheus.

    Args:
        gauges: name -> value now.
        more: further lines.
    """
    return "".join(f"{line}\n" for line in chain(lines(meter, gauges), more)).encode()


def total_lines(meters: Mapping[str, Meter]) -> Iterator[str]:
    """The answers of each endpoint at a front that several share. `meters`: its name -> its counters."""
    yield "# HELP lepton_endpoint_requests_total Answers to predictions"
    yield "# TYPE lepton_endpoint_requests_total counter"
    for name, meter in sorted(meters.items()):
        for status, count in sorted(meter.answers.items()):
            yield f'lepton_endpoint_requests_total{{endpoint="{name}",status="{status}"}} {count}'
    yield "# TYPE lepton_endpoint_seconds_total counter"
    for name, meter in sorted(meters.items()):
        yield f'lepton_endpoint_seconds_total{{endpoint="{name}"}} {meter.total_s:.6f}'


def lines(meter: Meter, gauges: Mapping[str, float]) -> Iterator[str]:
    """The lines of `render_metrics`."""
    yield from counter("requests_total", "Answers to predictions", "status", meter.answers)
    yield from counter("pages_total", "Answers that needed no worker", "status", meter.pages)
    yield from counter("batches_total", "Batches sent to workers", "why", meter.batches)
    yield from counter("dropped_total", "Requests let go without an answer of a worker", "why", meter.dropped)
    plain = {"batched_requests_total": meter.sent, "rows_total": meter.rows, "retries_total": meter.retries}
    plain |= {f"{name}_total": value for name, value in sorted(meter.told.items())}
    for name, value in plain.items():
        yield f"# TYPE lepton_{name} counter"
        yield f"lepton_{name} {value}"
    for name, gauge in gauges.items():
        yield f"# TYPE lepton_{name} gauge"
        yield f"lepton_{name} {gauge:g}"
    yield from histogram_lines(meter)


def counter(name: str, what: str, label: str, counts: Mapping[int, int] | Mapping[str, int]) -> Iterator[str]:
    """One counter with one label."""
    yield f"# HELP lepton_{name} {what}"
    yield f"# TYPE lepton_{name} counter"
    for key, count in sorted(counts.items()):
        yield f'lepton_{name}{{{label}="{key}"}} {count}'


def histogram_lines(meter: Meter) -> Iterator[str]:
    """Time to an answer, in the coarse buckets people read."""
    yield "# TYPE lepton_request_seconds histogram"
    for limit_s in SHOWN_S:
        yield f'lepton_request_seconds_bucket{{le="{limit_s:g}"}} {sum(meter.histogram[: bucket(limit_s)])}'
    total = sum(meter.histogram)
    yield f'lepton_request_seconds_bucket{{le="+Inf"}} {total}'
    yield f"lepton_request_seconds_sum {meter.total_s:.6f}"
    yield f"lepton_request_seconds_count {total}"
