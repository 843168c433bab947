"""Which server a client finds."""

from pathlib import Path

import pytest

from lepton.cli.output import Session
from lepton.core.errors import ConfigError, UnauthenticatedError, UnreachableError
from lepton.sdk.client import connect, connect_async
from lepton.sdk.find import find, noted, notes, workspace_of


def server(home: Path, name: str) -> Path:
    """A noted data directory whose server runs, as far as a client can see."""
    folder = home / name
    folder.mkdir()
    (folder / "url").write_text(f"http://127.0.0.1:{len(name)}\n")
    (folder / "token").write_text("lpt_x\n")
    notes({"HOME": str(home)}).mkdir(parents=True, exist_ok=True)
    (notes({"HOME": str(home)}) / name).write_text(str(folder))
    return folder


def test_when_the_newest_server_has_ended_the_one_before_is_found_again(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    first, second = server(tmp_path, "a"), server(tmp_path, "bb")
    assert noted(environment) == [second, first]
    assert find(environment=environment).url == "http://127.0.0.1:2"
    (second / "url").unlink()
    assert find(environment=environment).url == "http://127.0.0.1:1"
    (first / "url").unlink()
    with pytest.raises(UnreachableError):
        find(environment=environment)


@pytest.mark.parametrize("url", ["garbage", "ftp://x", "127.0.0.1:80"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"LEPTON_URL is .*not the address"):
        find(environment={"LEPTON_URL": url, "LEPTON_TOKEN": "t"})


@pytest.mark.parametrize("token", ["é", "a\nb"])
def test_what_cannot_be_a_token_is_named(token: str) -> None:
    with pytest.raises(UnauthenticatedError, match="characters"):
        find(environment={"LEPTON_URL": "http://x", "LEPTON_TOKEN": token})


def test_the_workspace_is_the_argument_else_the_variable_else_default() -> None:
    assert workspace_of(environment={}) == "default"
    assert workspace_of(environment={"LEPTON_WORKSPACE": ""}) == "default"
    assert workspace_of(environment={"LEPTON_WORKSPACE": "lab"}) == "lab"
    assert workspace_of("own", environment={"LEPTON_WORKSPACE": "lab"}) == "own"
    with pytest.raises(ConfigError, match="LEPTON_WORKSPACE is 'My Lab'"):
        workspace_of(environment={"LEPTON_WORKSPACE": "My Lab"})


def test_python_and_the_command_line_take_the_workspace_from_the_same_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("URL", "http://127.0.0.1:9"), ("TOKEN", "t"), ("WORKSPACE", "lab")):
        monkeypatch.setenv(f"LEPTON_{name}", text)
    assert connect().workspace == connect_async().workspace == Session().client.workspace == "lab"
    assert connect(workspace="own").workspace == Session(workspace="own").client.workspace == "own"


def test_a_server_that_a_variable_names_and_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="which LEPTON_DATA names"):
        find(environment={"LEPTON_DATA": str(tmp_path)})
