"""The walk as a user takes it: figures, lineage, again on a running platform, side by side, broken off."""

import json
import os
import shlex
import signal
import subprocess
from contextlib import closing
from hashlib import file_digest
from pathlib import Path
from select import poll

import numpy as np
import pytest

from tests.walk.conftest import Undisturbed
from tests.walk.house import END_S, LEPTON, ONCE, SHORT, WALK_S, Books, House, opened_house, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
CHECKS = ("corrupt", "blank", "unlabelled", "unknown_label", "duplicate", "conflict")


def test_the_model_is_right_on_images_it_never_saw(undisturbed: Undisturbed) -> None:
    catalog = undisturbed.house.client.catalog
    assert catalog.get("digits", kind="model").meta["accuracy"] >= 0.97
    assert catalog.get("digits-fast", kind="model").meta["accuracy"] >= 0.97


@pytest.mark.slow
def test_a_whole_walk_is_as_right_as_the_readme_says(house: House) -> None:
    done = house.lepton("walk", "--fresh", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] >= 0.98


def test_every_planted_fault_is_found_and_nothing_else(undisturbed: Undisturbed) -> None:
    planted = json.loads((EXAMPLES / "mnist-faults.json").read_text())
    report = undisturbed.house.client.catalog.get("digits-clean", kind="report")
    assert {check: report.meta[check] for check in CHECKS} == {check: len(planted[check]) for check in CHECKS}


def test_only_the_drifted_batch_raises_an_alert(undisturbed: Undisturbed) -> None:
    alerts = undisturbed.house.client.observe.alerts()
    reports = undisturbed.house.client.catalog.list(kind="report", name="digits")
    assert [report.meta["drifted"] for report in reports] == [True, False]
    assert [alert.report for alert in alerts] == [reports[0].id]


def test_lineage_leads_from_the_endpoint_to_the_raw_file_and_its_hash(undisturbed: Undisturbed) -> None:
    raw = EXAMPLES / "mnist-raw.tar.xz"
    with raw.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    done = undisturbed.house.lepton("catalog", "lineage", "digits", "--json")
    links = json.loads(done.stdout)["links"]
    kinds = [(link["version"]["kind"], link["version"]["name"]) for link in links]
    for wanted in (("model", "digits-fast"), ("model", "digits"), ("dataset", "digits-clean"), ("raw", "digits")):
        assert wanted in kinds
    files = [file for link in links if link["version"]["kind"] == "raw" for file in link["version"]["files"]]
    assert [(file["path"], file["digest"]) for file in files] == [(raw.name, digest)]
    plain = undisturbed.house.lepton("catalog", "lineage", "digits").stdout
    assert "digits-fast" in plain and digest[:12] in plain


def test_a_walk_prints_plain_lines_where_there_is_no_terminal(undisturbed: Undisturbed) -> None:
    assert "\r" not in undisturbed.said and "\x1b" not in undisturbed.said
    assert [line[:3] for line in undisturbed.said.splitlines()[:6]] == [f"{n}/6" for n in range(1, 7)]


def test_a_second_walk_with_the_same_names_on_the_running_platform_makes_second_versions(
    undisturbed: Undisturbed,
) -> None:
    house = undisturbed.house
    before = house.versions()
    done = house.lepton("walk", "--keep", *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no drift" in done.stdout and "1 alert raised" in done.stdout
    assert "p50 " in done.stdout and " requests/s" in done.stdout
    advice = [line.strip() for line in done.stdout.partition("Try:\n")[2].splitlines()]
    assert [line.removeprefix(shlex.join(LEPTON)).strip() for line in advice[-2:]] == ["serve delete digits", "down"]
    assert subprocess.run(advice[0], shell=True, env=house.env, capture_output=True, check=False).returncode == 0
    after = house.versions()
    assert {name: after[name] for name in ONCE} == {name: before[name] * 2 for name in ONCE}
    endpoint = house.client.serve.get("digits")
    assert len(endpoint.predict(np.zeros((1, 28, 28), np.uint8))["outputs"]) == 1
    assert house.lepton("status").returncode == 0


def test_two_fresh_walks_side_by_side_end_alike_and_leave_nothing(undisturbed: Undisturbed) -> None:
    with opened_house() as one, opened_house() as other:
        walks = [(house, house.begin("walk", "--fresh", *SHORT, "--data", str(house.data))) for house in (one, other)]
        for house, walk in walks:
            assert walk.wait(WALK_S) == 0, (house.folder / "walk.out").read_text()
            assert not house.left_running()
            assert not list((house.folder / "tmp").rglob("*.sock"))
            assert not [path for path in (house.folder / "tmp").glob("lepton-*/*")]
            books = Books(house.data)
            books.check()
            found = {(v.kind, v.name): [v.digest] for v in books.versions if (v.kind, v.name) in ONCE}
            assert found == undisturbed.digests


def training(house: House, *flags: str) -> "subprocess.Popen[str]":
    """A walk on a platform of its own, both of whose trainers run."""
    walk = house.begin("walk", "--fresh", *flags)
    out = house.folder / "walk.out"
    wait_until(lambda: "2/6" in out.read_text(), "it trains", WALK_S)
    wait_until(lambda: sum("LEPTON_RANK" in line for line in house.left_running()) >= 2, "both workers run")
    return walk


def check_nothing_left(house: House) -> None:
    wait_until(lambda: not house.left_running(), "nothing of it runs", END_S)
    assert not [path for path in (house.folder / "tmp").glob("lepton-*/*")]
    assert not list((house.folder / "tmp").glob("lepton-walk-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_walk_that_is_broken_off_leaves_nothing(house: House, number: signal.Signals) -> None:
    walk = training(house)
    os.kill(walk.pid, number)
    assert walk.wait(END_S) == 130, (house.folder / "walk.out").read_text()
    assert not house.left_running()
    check_nothing_left(house)
    assert "Traceback" not in (house.folder / "walk.out").read_text()


def test_an_impatient_user_leaves_nothing_either(house: House) -> None:
    walk = training(house)
    watched = os.pidfd_open(walk.pid)
    with closing(os.fdopen(watched, "rb")):
        waiting = poll()
        waiting.register(watched)
        signal.pidfd_send_signal(watched, signal.SIGINT)
        while not waiting.poll(200):  # Ctrl-C again and again until it has ended
            signal.pidfd_send_signal(watched, signal.SIGINT)
    assert walk.wait(END_S) == 130
    assert not house.left_running()
    check_nothing_left(house)
    assert "Traceback" not in (house.folder / "walk.out").read_text()


def test_kill_9_of_a_walk_ends_the_platform_that_it_started(house: House) -> None:
    walk = training(house)
    assert list((house.folder / "tmp").glob("lepton-walk-*"))
    walk.kill()
    assert walk.wait(END_S) == -signal.SIGKILL
    check_nothing_left(house)


def test_kill_9_of_a_walk_stops_its_jobs_in_the_books_of_a_folder_that_stays(house: House) -> None:
    walk = training(house, "--data", str(house.data))
    walk.kill()
    check_nothing_left(house)
    books = Books(house.data)
    books.check()
    assert {job.state for job in books.jobs} == {"done", "cancelled"}


def test_kill_9_of_a_walk_whose_platform_is_just_starting_leaves_nothing(house: House) -> None:
    walk = house.begin("walk", "--fresh")
    wait_until(lambda: any("LEPTON_OWNER" in line for line in house.left_running()), "its server starts")
    walk.kill()
    check_nothing_left(house)
