"""What of an endpoint stays when it is changed."""

from typing import Any

import pytest

from lepton.core.errors import InvalidError
from lepton.sdk.declared import Unread
from lepton.sdk.limits import class_limits, kept

OWN = {"model": "ver_1", "code": "", "entry": "", "is_front": False, "front": "", "hosts": [], "replicas": 3}
OWN |= {"host": "127.0.0.1", "port": 8000, "allow": [], "tls_cert": "", "tls_key": "", "preload": ["torch"]}
SHARED = {**OWN, "port": 0, "front": "ep_1", "hosts": ["a.example"]}


def changed(before: dict[str, Any], body: dict[str, Any], **limits: Any) -> dict[str, Any]:
    return kept(before, {**body, **limits}, limits)


def test_what_is_not_said_stays() -> None:
    code = {"code": "ver_2", "entry": "a.py", "replicas": 1, "worker_cpu_milli": 100}
    found = changed(SHARED, code, deadline_ms=70)
    assert (found["front"], found["hosts"], found["replicas"]) == ("ep_1", ["a.example"], 3)
    assert (found["worker_cpu_milli"], found["deadline_ms"], found["code"]) == (100, 70, "ver_2")
    assert not found.keys() & {"model", "preload", "is_front"}
    assert changed(OWN, {"model": "ver_2"})["port"] == 8000
    assert changed(OWN, {"model": "ver_2"}, replicas=1)["replicas"] == 1


def test_what_the_other_kind_of_front_cannot_have_goes() -> None:
    assert not changed(OWN, {"model": "ver_2"}, front="edge").keys() & {"port", "host", "allow", "tls_cert"}
    assert changed(SHARED, {"model": "ver_2"}, front="", port=8000)["port"] == 8000
    assert "hosts" not in changed(SHARED, {"model": "ver_2"}, front="")


def test_what_a_class_asks_for_becomes_limits() -> None:
    asked = class_limits({"cpus": 2, "gpus": 0.5, "memory": "1.5 GiB", "replicas": 3, "preload": ("torch",)})
    assert asked == {
        "replicas": 3,
        "worker_cpu_milli": 2000,
        "worker_gpu_milli": 500,
        "worker_memory_bytes": 3 << 29,
        "preload": ["torch"],
    }
    assert class_limits({"cpus": None, "gpus": 0.0, "memory": ""}) == {}
    assert class_limits({"memory": 300 << 20}) == {"worker_memory_bytes": 300 << 20}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", "much"),
        ("memory", True),
        ("memory", -1),
        ("replicas", 2.0),
        ("replicas", 0),
        ("cpus", "2"),
        ("gpus", float("nan")),
        ("preload", "torch"),
        ("requirements", "numpy"),
        ("requirements", (1,)),
    ],
)
def test_what_a_class_cannot_ask_for_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidError, match=f"^{name} = .* of the class cannot be") as fault:
        class_limits({name: value})
    assert f"{name} = " in fault.value.fix


def test_what_cannot_be_read_is_refused_unless_it_is_said_beside_the_class() -> None:
    unread = Unread("s.py", 7, "calls size()")
    with pytest.raises(InvalidError, match=r"s.py:7: `memory` cannot be read .* calls size\(\)") as fault:
        class_limits({"memory": unread})
    assert fault.value.fix == 'Write a plain value, e.g. memory = "2 GiB", or give --memory.'
    assert class_limits({"memory": unread, "cpus": 1}, ["worker_memory_bytes"]) == {"worker_cpu_milli": 1000}


def test_what_code_needs_goes_along() -> None:
    found = class_limits({"requirements": ("a>=1",), "requirement_dependency": ["b"]})
    assert found == {"requirements": ["a>=1", "b"]}
