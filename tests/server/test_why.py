"""Why a job waits: each role by its own need, parts of devices counted, and nothing said that is not so."""

from math import inf
from typing import Any

import pytest

from lepton.core.launch import Devices
from lepton.jobs.spec import JobSpec, Role
from lepton.pool.live.room import Free, Kind, fitting
from lepton.server.submit import submit
from lepton.store import resources
from tests.server.test_placing import House, house

__all__ = ["house"]


def reasons(house: House, id: str) -> dict[str, Any]:
    found = house.database.read(lambda tx: house.placing.why(tx, resources.get(tx, id)))
    return {reason.code: reason for reason in found}


def roles(house: House, *roles: Role) -> str:
    spec = JobSpec(roles=roles, params={"course": {"seconds": inf}})
    return house.database.write(lambda tx: submit(tx, spec, name="a", author=house.author())).id


def test_each_role_is_told_with_what_it_needs(house: House) -> None:
    front = Role(name="front", command=("f",), devices=Devices(cpu_milli=100))
    replicas = Role(name="replica", command=("r",), count=4, devices=Devices(cpu_milli=2000, gpu_milli=4000))
    house.submit(1)
    house.turn(2)
    waits = roles(house, front, replicas)
    house.turn()
    assert house.job(waits).state == "queued"
    said = reasons(house, waits)["shape"]
    assert said.words.startswith("needs 1 front of 0.1 CPU and 4 replicas of 4 GPUs, 2 CPUs; the most that one node")
    assert (said.facts["fit_now"], said.facts["needed"]) == (4, 5)
    assert [(each["role"], each["count"]) for each in said.facts["needs"]] == [("front", 1), ("replica", 4)]


def test_what_is_left_of_a_shared_device_counts(house: House) -> None:
    held = [house.submit(0.6) for _ in range(16)]
    house.turn(2)
    assert house.states(*held) == ["running"] * 16
    waits = house.submit(0.5)
    house.turn()
    said = reasons(house, waits)["shape"]
    assert said.words == "needs 0.5 GPU, 1 CPU; the most that one node has free is 0.4 GPU, 8 CPUs"
    assert said.facts["most_free"][1] == 400
    fits = house.submit(0.4)
    house.turn()
    assert house.states(fits) == ["running"]


def test_a_job_for_which_nodes_are_kept_says_so_and_not_that_others_go_first(house: House) -> None:
    for _ in range(2):
        house.submit(8)
    house.turn(2)
    wide = house.submit(8, workers=2)
    house.clock.advance(3700)
    later = house.submit(8)
    house.turn()
    said, other = reasons(house, wide), reasons(house, later)
    assert said["reserved"].words.startswith(
        "it has waited longer than 3600 s: what becomes free on n0, n1 is kept for it"
    )
    assert (said["reserved"].facts["for"], said["reserved"].facts["nodes"]) == (wide, ["n0", "n1"])
    assert said["shape"].facts["before_it"] == 0 and "before it" not in said["shape"].words
    assert other["shape"].facts["before_it"] == 1


@pytest.mark.parametrize(
    ("kinds", "fit"),
    [
        ([Kind("a", 3, Devices(gpu_milli=500))], 5),
        ([Kind("a", 1, Devices(gpu_milli=2000))], 1),
        ([Kind("a", 1, Devices(gpu_milli=3000))], 0),
        ([Kind("a", 1, Devices(gpu_milli=2000)), Kind("b", 2, Devices(gpu_milli=600))], 2),
        ([Kind("a", 1, Devices(gpu_milli=1000)), Kind("b", 4, Devices(gpu_milli=300))], 5),
        ([Kind("a", 9, Devices(cpu_milli=500)), Kind("b", 4, Devices(cpu_milli=2000))], 4),
    ],
)
def test_workers_that_differ_are_fitted_together(kinds: list[Kind], fit: int) -> None:
    assert fitting(kinds, [Free(kind="gpu", devices=2, parts=[600, 100], cpu=8000, memory=0)]) == fit
