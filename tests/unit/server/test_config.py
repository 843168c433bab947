"""Settings: which source wins, and that a bad value is named with where it came from and what is wanted."""

from pathlib import Path
from typing import Any

import pytest

from lepton.core.errors import ConfigError
from lepton.server.config import ServerConfig


def load(folder: Path, *, file: str = "", flags: dict[str, Any] | None = None, **environment: str) -> ServerConfig:
    (folder / "lepton.toml").write_text(file)
    return ServerConfig.load(folder, environment=environment, flags=flags or {})


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path: Path) -> None:
    assert load(tmp_path).port == 8470
    assert load(tmp_path, file="port = 1").port == 1
    assert load(tmp_path, file="port = 1", LEPTON_PORT="2").port == 2
    assert load(tmp_path, file="port = 1", LEPTON_PORT="2", flags={"port": 3}).port == 3
    assert load(tmp_path, file="port = 1", LEPTON_PORT="", flags={"port": None}).port == 1
    assert load(tmp_path, file="patience_s = 5").patience_s == 5.0


@pytest.mark.parametrize(
    ("name", "text", "says", "fix"),
    [
        ("LEPTON_PORT", "abc", "LEPTON_PORT is 'abc', not a whole number", "Give a whole number."),
        ("LEPTON_PORT", "99999", "LEPTON_PORT is 99999", "Give 0 to 65535. 0 picks a free port."),
        ("LEPTON_LEASE_S", "nan", "LEPTON_LEASE_S is nan", "Give 0.1 to 86400."),
        ("LEPTON_LEASE_S", "soon", "LEPTON_LEASE_S is 'soon', not a number", "Give a number."),
        ("LEPTON_HEARTBEAT_S", "-1", "LEPTON_HEARTBEAT_S is -1", "Give 0.01 to 3600."),
        ("LEPTON_MAX_BODY_BYTES", "1e6", "LEPTON_MAX_BODY_BYTES is '1e6', not a whole number", "Give a whole number."),
        ("LEPTON_KEEP_LOGS_S", "-5", "LEPTON_KEEP_LOGS_S is -5", "Give 0 or more."),
        ("LEPTON_ISOLATION", "loose", "LEPTON_ISOLATION is 'loose'", "Give one of off, own, closed."),
        ("LEPTON_PATIENCE_S", "inf", "LEPTON_PATIENCE_S is inf", "Give 0 or more."),
    ],
)
def test_a_bad_variable_is_named_with_what_came_and_what_is_wanted(
    tmp_path: Path, name: str, text: str, says: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as fault:
        load(tmp_path, **{name: text})
    assert (fault.value.message, fault.value.fix) == (says, fix)


@pytest.mark.parametrize("text", ["port = true", "port = 1.5", 'port = "1"', "host = 5", 'lease_s = "1"', "colour = 1"])
def test_a_bad_line_of_the_file_is_named_with_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"lepton\.toml"):
        load(tmp_path, file=text)


def test_a_lease_must_outlast_two_heartbeats(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="under twice heartbeat_s") as fault:
        load(tmp_path, LEPTON_LEASE_S="1", LEPTON_HEARTBEAT_S="5")
    assert "Set lease_s to 10 or more" in fault.value.fix
