"""A start that takes long says where it is."""

import io
import sys
from threading import Event

import pytest

from lepton.serve.starting import watched


class Log(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.was_flushed = Event()

    def flush(self) -> None:
        self.was_flushed.set()


def load_for_ever(log: Log) -> None:
    assert log.was_flushed.wait(30)


def test_a_start_that_hangs_tells_where_and_one_that_does_not_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setenv("LEPTON_URL", "http://somewhere")
    with watched(0.01):
        load_for_ever(log)
    assert "not ready after" in log.getvalue() and "in load_for_ever" in log.getvalue()
    quick = Log()
    monkeypatch.setattr(sys, "stderr", quick)
    with watched(30.0):
        pass
    assert not quick.getvalue()
