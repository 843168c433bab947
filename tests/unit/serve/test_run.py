"""A replica says what its class asked for in vain: what stands in a base that nobody could read."""

import pytest

from lepton.serve.run import tell_unread
from lepton.serve.spec import EndpointSpec

VERSION = "ver_00000000000000000000000001"


def test_what_did_not_reach_the_wish_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    spec = EndpointSpec(code=VERSION, entry="a.py", worker_gpu_milli=1000)
    usual = {"replicas": 1, "cpus": 0.5, "gpus": 0.0, "memory": "", "preload": ()}
    tell_unread(usual, spec)
    tell_unread({}, spec)
    tell_unread({**usual, "gpus": 2}, spec)
    assert capsys.readouterr().err == ""
    tell_unread({**usual, "memory": "2 GiB", "replicas": 3}, spec)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "--replicas" in told[0] and "memory = '2 GiB'" in told[1]
