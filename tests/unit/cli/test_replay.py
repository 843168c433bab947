"""`lepton pool replay`: the front door of the simulator, with good files and bad ones."""

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.cli.plots import longer_than
from lepton.core.errors import LeptonError

TRACES = Path(__file__).parents[1] / "pool" / "traces"
NODES = str(TRACES / "venus_nodes.csv")
HEAD = "job_id,user,vc,gpu_num,cpu_num,submit_time,duration\n"
GOOD = HEAD + "1,u,a,8,8,100,50\n2,u,a,4,4,2020-04-01T00:02:00,10.5\n"


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["pool", "replay", *map(str, words)])


def fault(*words: object) -> str:
    """What a call ends with: the message and what to do."""
    error = call(*words).exception
    assert isinstance(error, LeptonError)
    return f"{error.code}: {error.message} {error.fix}"


def figures(*words: object) -> Any:
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    path = tmp_path / "nodes.csv"
    path.write_text("vc,num\na,1\n")
    return path


def test_figures_follow_from_the_segments(tmp_path: Path) -> None:
    out, plot = tmp_path / "out.csv", tmp_path / "out.png"
    found = figures(TRACES / "venus.csv", "--nodes", NODES, "--compare", "fifo", "--out", out, "--plot", plot)
    ours, fifo = found["policies"]["lepton"], found["policies"]["fifo"]
    assert ours["mean_jct_s"] < fifo["mean_jct_s"] and fifo["preemptions"] == 0
    with out.open() as file:
        segments = list(csv.DictReader(file))
    jobs = {row["job_id"]: row for row in csv.DictReader((TRACES / "venus.csv").read_text().splitlines())}
    ends: dict[str, float] = {}
    for row in segments:
        ends[row["job_id"]] = max(ends.get(row["job_id"], 0.0), float(row["end_s"]))
        vc, _, number = row["node"].partition("/")
        assert vc == jobs[row["job_id"]]["vc"] and 0 <= int(number) < 3 and 1 <= int(row["gpus"]) <= 8
    jct = [ends[id] - float(job["submit_time"]) for id, job in jobs.items()]
    assert ours["mean_jct_s"] == pytest.approx(sum(jct) / len(jct))
    assert plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_rows_may_stand_in_any_order_and_be_packed(tmp_path: Path) -> None:
    head, *lines = (TRACES / "venus.csv").read_text().splitlines()
    unequal = {line.split(",")[5]: line for line in lines}  # one job of each moment: among equals the order counts
    lines = list(unequal.values())
    plain, packed = tmp_path / "plain.csv", tmp_path / "packed.csv.gz"
    plain.write_text("\n".join([head, *lines]))
    random.Random(0).shuffle(lines)
    packed.write_bytes(gzip.compress("\n".join([head, *lines]).encode()))
    one, other = (figures(path, "--nodes", NODES)["policies"] for path in (plain, packed))
    assert one == other


def test_swf_is_read(tmp_path: Path, nodes: Path) -> None:
    trace = tmp_path / "log.swf"
    rest = "-1 -1 {asked} -1 -1 1 7 -1 -1 -1 -1 -1 -1"
    trace.write_text(
        "; Computer: none\n"
        + "".join(f"{i} {10 * i} 0 100 8 " + rest.format(asked=8) + "\n" for i in range(1, 4))
        + "4 40 0 -1 8 "
        + rest.format(asked=8)
        + "\n"
    )
    nodes.write_text("vc,num\nall,1\n")
    bad = fault(trace, "--nodes", nodes)
    assert "line 5: duration '-1' is not between" in bad and "--skip-broken" in bad
    found = figures(trace, "--nodes", nodes, "--policy", "fifo", "--skip-broken")
    assert found["policies"]["fifo"]["mean_queue_s"] == pytest.approx((0 + 90 + 180) / 3)
    assert len(found["left_out"]) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column job_id"),
        ("job_id,submit_time\n1,2\n", "no column gpu_num, duration"),
        (HEAD, "there is no job in it"),
        (HEAD + "1,u,a,8,8,5\n", "line 2: 6 fields instead of 7"),
        (HEAD + "1,u,a,x,8,5,5\n", "line 2: GPUs 'x' is no number"),
        (HEAD + "1,u,a,1.5,8,5,5\n", "line 2: GPUs '1.5' is no whole number"),
        (HEAD + "1,u,a,-1,8,5,5\n", "line 2: GPUs '-1' is no whole number"),
        (HEAD + "1,u,a,1,8,nan,5\n", "line 2: submit time 'nan' is not between"),
        (HEAD + "1,u,a,1,8,soon,5\n", "line 2: submit time 'soon' is neither"),
        (HEAD + "1,u,a,1,8,5,-5\n", "line 2: duration '-5' is not between"),
        (GOOD + "1,u,a,1,1,1,1\n", "line 4: job 1 stood in an earlier line"),
        (HEAD + ",u,a,1,1,1,1\n", "line 2: the job has no id"),
        (HEAD + "1,u,b,1,1,1,1\n", "No queue of the trace (b) has nodes"),
    ],
)
def test_a_broken_trace_is_named_line_by_line(tmp_path: Path, nodes: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    assert said in fault(path, "--nodes", nodes)


def test_every_broken_line_is_named_and_a_flood_is_not(tmp_path: Path, nodes: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(GOOD + "".join(f"b{at},u,a,x,1,1,1\n" for at in range(14)))
    said = fault(path, "--nodes", nodes)
    assert all(f"\n  line {4 + at}: GPUs 'x' is no number" in said for at in range(14))
    path.write_text(GOOD + "".join(f"b{at},u,a,x,1,1,1\n" for at in range(3000)))
    assert "and 2000 more: --skip-broken with --json names all" in fault(path, "--nodes", nodes)
    assert len(figures(path, "--nodes", nodes, "--skip-broken")["left_out"]) == 3000


def test_refused_jobs_and_predictions_that_are_none_are_named(tmp_path: Path, nodes: Path) -> None:
    path, predictions = tmp_path / "trace.csv", tmp_path / "predictions.csv"
    path.write_text(GOOD + "wide,u,a,80,1,1,1\nlost,u,nowhere,1,1,1,1\n")
    predictions.write_text("job_id,priority\n1,abc\n2,inf\nwide,nan\nlost,-1\n")
    ended = call(path, "--nodes", nodes, "--predictions", predictions, "--json")
    found = json.loads(ended.stdout)
    assert found["refused"] == [
        "job wide: it asks for 80 GPUs, and queue a has 8",
        "job lost: queue nowhere has no nodes",
    ]
    assert all(f"refused: {each}" in ended.stderr for each in found["refused"])
    assert found["unknown_predictions"] == [
        "line 2: prediction 'abc' is no number of seconds",
        "line 3: prediction 'inf' is no number of seconds",
    ]
    assert "line 2: prediction 'abc'" in ended.stderr


def test_bad_calls_say_what_is_wrong(tmp_path: Path, nodes: Path) -> None:
    path, noise = tmp_path / "trace.csv", tmp_path / "noise.gz"
    path.write_text(GOOD)
    noise.write_bytes(b"\x1f\x8bnoise")
    assert "No policy 'quick'" in fault(path, "--nodes", nodes, "--policy", "quick")
    assert "goes by predictions" in fault(path, "--nodes", nodes, "--policy", "qssf")
    assert "cannot be read" in fault(noise, "--nodes", nodes)
    assert fault(tmp_path / "none.csv", "--nodes", nodes).startswith("not_found")
    nodes.write_text("vc,num\na,1\na,2\nb,many\n")
    said = fault(path, "--nodes", nodes)
    assert "line 3: queue a stood in an earlier line" in said and "line 4: number of nodes 'many'" in said


def test_predictions_decide_where_they_are_given(tmp_path: Path, nodes: Path) -> None:
    path, predictions = tmp_path / "trace.csv", tmp_path / "predictions.csv"
    path.write_text(HEAD + "run,u,a,8,8,0,100\nlong,u,a,8,8,1,1000\nshort,u,a,8,8,2,10\n")
    words = (path, "--nodes", nodes, "--policy", "qssf", "--predictions", predictions)
    predictions.write_text("job_id,priority\nlong,1000\nshort,70\n")
    assert figures(*words)["policies"]["qssf"]["mean_queue_s"] == pytest.approx((0 + 109 + 98) / 3)
    predictions.write_text("job_id,priority\nlong,70\nshort,nan\n")
    assert figures(*words)["policies"]["qssf"]["mean_queue_s"] == pytest.approx((0 + 99 + 1098) / 3)


PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
MACHINES = "sn,cpu_milli,memory_mib,gpu,model\nm0,8000,8000,2,T4\nm1,8000,8000,2,V100\n"


def test_pods_fill_machines(tmp_path: Path) -> None:
    pods, machines = tmp_path / "pods.csv.gz", tmp_path / "machines.csv"
    machines.write_text(MACHINES)
    pods.write_bytes(gzip.compress((PODS + "a,1000,1000,1,500,\nb,1000,1000,1,250,T4|V100\nc,500,100,0,0,\n").encode()))
    found = figures(pods, "--nodes", machines, "--seeds", "1-3", "--compare", "random")["policies"]
    assert [run["seed"] for run in found["lepton"]["runs"]] == [1, 2, 3]
    for each in found.values():
        assert all(run["arrived"] >= 1.3 and 0 <= run["unallocated"] < 0.5 for run in each["runs"])
    assert "--seeds like" in fault(pods, "--nodes", machines, "--seeds", "x")
    assert "No policy 'fifo' for pods" in fault(pods, "--nodes", machines, "--policy", "fifo")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,1000,1000,1,1500,", "line 2: 1 GPUs of 1500 thousandths"),
        ("a,1000,1000,2,500,", "line 2: 2 GPUs of 500 thousandths: only one GPU may be shared"),
        ("a,x,1000,1,500,", "line 2: cpu_milli 'x' is no number"),
        ("a,1000", "line 2: fewer than 6 fields"),
        ("a,1000,1000,0,0,", "no pod wants a GPU"),
    ],
)
def test_broken_pods_are_named(tmp_path: Path, line: str, said: str) -> None:
    pods, machines = tmp_path / "pods.csv", tmp_path / "machines.csv"
    machines.write_text(MACHINES)
    pods.write_text(PODS + line + "\n")
    assert said in fault(pods, "--nodes", machines)


def test_waiting_jobs_are_told_when_they_start(tmp_path: Path) -> None:
    told = tmp_path / "told.csv"
    found = figures(TRACES / "venus.csv", "--nodes", NODES, "--intervals", told)["policies"]["lepton"]["intervals"]
    rows = list(csv.DictReader(told.read_text().splitlines()))
    submits = {
        row["job_id"]: float(row["submit_time"])
        for row in csv.DictReader((TRACES / "venus.csv").read_text().splitlines())
    }
    assert rows and all(float(row["stated_s"]) == submits[row["job_id"]] for row in rows)
    assert all(float(row["stated_s"]) <= float(row["low_s"]) <= float(row["high_s"]) for row in rows)
    assert 0.5 < found["inside"] <= 1 and found["winkler_s"] > 0 and found["usual"]["jobs"] == found["jobs"]


def test_one_call_prints_the_whole_table(tmp_path: Path, nodes: Path) -> None:
    venus, pods, machines = TRACES / "venus.csv", tmp_path / "pods.csv", tmp_path / "machines.csv"
    guesses = tmp_path / "guesses.csv"
    jobs = list(csv.DictReader(venus.read_text().splitlines()))
    guesses.write_text("job_id,priority\n" + "".join(f"{job['job_id']},{job['duration']}\n" for job in jobs))
    pods.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np,1000,1,1,500,\nq,1000,1,2,1000,\n")
    machines.write_text("sn,cpu_milli,memory_mib,gpu,model\nm,64000,1000,8,A\n")
    given = (venus, "--nodes", NODES, "--published", venus, "--predictions", guesses, "--table")
    found = figures(*given, "--pods", pods, "--machines", machines)
    table = found["table"]
    assert (
        table["share of fifo's ends equal to the published"] == table["share of sjf's ends equal to the published"] == 1
    )
    assert table["A, nothing stopped, published predictions"]["mean_jct_s"] < table["published: fifo"]["mean_jct_s"]
    assert table["shuffled predictions, worst mean JCT against greedy"] < 1.1
    assert set(found["fractions"]) >= {"pods, lepton", "pods, fgd"}
    said = call(*given)
    assert said.exit_code == 0
    for words in ("published: sjf", "A, preemptive\t", "B, nothing stopped", "told when they start", "second half"):
        assert words in said.stdout, words
    assert "no --machines" in fault(*given, "--pods", pods)
    broken = tmp_path / "published.csv"
    broken.write_text("job_id,fifo_end\nnobody,5\n")
    assert "no end of job" in fault(venus, "--nodes", NODES, "--table", "--published", broken)
    broken.write_text("job_id,fifo\n")
    assert "no column ..._end" in fault(venus, "--nodes", NODES, "--table", "--published", broken)
    assert "nobody" not in call(tmp_path / "nodes.csv", "--nodes", nodes, "--table").output


def test_the_picture_shows_who_waited_longer_than_each_wait_and_hides_nobody() -> None:
    seconds, percent = longer_than(np.array([0.0, 0.5, 3.0, 2.0, 500.0]))
    assert (seconds.tolist(), percent.tolist()) == ([2.0, 3.0, 500.0], [40.0, 20.0, 20.0])
    assert [each.tolist() for each in longer_than(np.zeros(0))] == [[], []]
