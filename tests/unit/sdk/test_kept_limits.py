"""What an endpoint keeps when it is changed: what somebody gave stays, what its class asked for goes with the class."""

from typing import Any

from lepton.sdk.limits import kept
from lepton.serve.spec import EndpointSpec

CODE = "ver_00000000000000000000000001"
SERVED = {"code": CODE, "entry": "a.py:A"}


def wish(**fields: Any) -> dict[str, Any]:
    return EndpointSpec.from_json({**SERVED, **fields}).to_json()


def test_what_was_given_stays_although_the_class_asks_for_something_else() -> None:
    before = wish(worker_memory_bytes=800, preload=["json"], said=["worker_memory_bytes", "preload"])
    body = {**SERVED, "worker_memory_bytes": 300, "preload": ["csv"], "asked": ["preload", "worker_memory_bytes"]}
    after = kept(before, body, {})
    assert (after["worker_memory_bytes"], after["preload"]) == (800, ["json"])
    assert after["said"] == ["preload", "worker_memory_bytes"] and after["asked"] == []
    later = kept(after, body, {"worker_memory_bytes": 0})
    assert later["worker_memory_bytes"] == 0
    assert EndpointSpec.from_json(later).said == ("preload", "worker_memory_bytes")


def test_what_only_the_class_asked_for_goes_with_it() -> None:
    before = wish(worker_cpu_milli=2000, rate_per_s=5, replicas=3, asked=["replicas", "worker_cpu_milli"])
    after = EndpointSpec.from_json(kept(before, dict(SERVED), {}))
    assert (after.worker_cpu_milli, after.rate_per_s, after.asked) == (500, 5, ())
    assert after.replicas == 3, "it may have been scaled since"
    asked = {**SERVED, "worker_cpu_milli": 1000, "asked": ["worker_cpu_milli"]}
    assert kept(before, asked, {})["worker_cpu_milli"] == 1000


def test_of_an_endpoint_that_does_not_know_what_was_given_all_stays_but_what_the_class_says() -> None:
    before = {name: value for name, value in wish(worker_cpu_milli=2000, rate_per_s=5).items() if name != "said"}
    before.pop("asked")
    after = kept(before, {**SERVED, "worker_memory_bytes": 300, "asked": ["worker_memory_bytes"]}, {"burst": 7})
    assert (after["worker_cpu_milli"], after["rate_per_s"], after["worker_memory_bytes"]) == (2000, 5, 300)
    assert after["said"] == ["burst"]


def test_limits_of_a_front_of_its_own_go_when_it_shares_one() -> None:
    before = wish(port=8000, said=["port"])
    after = kept(before, dict(SERVED), {"front": "ep_00000000000000000000000001"})
    assert "port" not in after and after["said"] == ["front"]
