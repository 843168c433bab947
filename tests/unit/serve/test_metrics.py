"""Counters become Prometheus text and windows with quantiles near the truth."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.serve.metrics import BUCKETS, Meter, Window, bucket, quantile, render_metrics

LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"\})? [0-9.e+-]+')


def test_the_text_is_prometheus_and_holds_what_was_counted() -> None:
    meter = Meter()
    meter.predicted(200, 0.004, 3)
    meter.predicted(422, 0.2, 0)
    meter.batches["idle"] += 1
    text = render_metrics(meter, {"workers_ready": 2}).decode()
    for line in text.splitlines():
        assert line.startswith("#") or LINE.fullmatch(line), line
    assert 'lepton_requests_total{status="200"} 1' in text
    assert 'lepton_request_seconds_bucket{le="0.01"} 1' in text
    assert 'lepton_request_seconds_bucket{le="+Inf"} 2' in text
    assert "lepton_rows_total 3" in text
    assert "lepton_workers_ready 2" in text


@given(times=st.lists(st.floats(2e-6, 60.0), min_size=1, max_size=60), fraction=st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_a_tenth_of_the_truth(times: list[float], fraction: float) -> None:
    histogram = [0] * BUCKETS
    for seconds in times:
        histogram[bucket(seconds)] += 1
    truth = sorted(times)[max(0, -int(-len(times) * fraction // 1) - 1)]
    assert abs(quantile(histogram, fraction) - truth) <= 0.1 * truth


@given(
    told=st.lists(
        st.tuples(
            st.sampled_from([200, 422, 503]), st.floats(-1, 200) | st.floats(0.0081919, 0.0081921), st.integers(0, 9)
        ),
        min_size=1,
        max_size=40,
    )
)
def test_answers_counted_together_are_counted_as_one_by_one(told: list[tuple[int, float, int]]) -> None:
    together, alone = Meter(), Meter()
    together.predicted_all(told)
    for status, seconds, rows in told:
        alone.predicted(status, seconds, rows)
        assert sum(together.histogram[bucket(seconds) :]) > 0
    assert (together.answers, together.rows, together.histogram) == (alone.answers, alone.rows, alone.histogram)
    assert together.total_s == pytest.approx(alone.total_s)


def test_no_time_is_outside_the_histogram() -> None:
    assert bucket(0.0) == bucket(-1.0) == 0
    assert bucket(1e9) == BUCKETS - 1
    assert quantile([0] * BUCKETS, 0.5) == 0.0


def test_a_window_tells_only_what_is_new_and_nothing_when_nothing_is() -> None:
    meter = Meter()
    window = Window(meter)
    meter.predicted(200, 0.01, 1)
    meter.predicted(503, 0.01, 0)
    meter.predicted(401, 0.01, 0)
    numbers = window.close(5.0, 7)
    assert {name: numbers[name] for name in ("requests", "errors", "refused", "rows", "seconds", "queue")} == {
        "requests": 3,
        "errors": 1,
        "refused": 1,
        "rows": 1,
        "seconds": 5.0,
        "queue": 7,
    }
    assert 9 < numbers["p50_ms"] < 11
    assert window.close(5.0, 0) == {}
    meter.predicted(200, 1.0, 1)
    assert window.close(5.0, 0)["requests"] == 1
