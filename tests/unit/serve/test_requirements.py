"""What code says it needs is held against what is installed; what is missing is told with the command that mends it."""

from importlib.metadata import version
from pathlib import Path

import pytest

from lepton.core.errors import ConfigError
from lepton.serve.requirements import check


def test_what_is_met_or_not_meant_for_here_passes(capsys: pytest.CaptureFixture[str]) -> None:
    check(
        [
            "click",
            "Click>=8",
            f"click=={version('click')}",
            "uvicorn # the plain one",
            "",
            "lepton_x; sys_platform == 'win32'",
        ]
    )
    check(["httpx[socks-of-nobody]"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lepton-no-such-package>=2", "lepton-no-such-package>=2 is missing"),
        ("click>=99", f"click>=99 is wanted, {version('click')} is there"),
        ("click @ https://x.example/click.whl ; python_version < '4' and extra == ''", ""),
    ],
)
def test_what_is_not_met_is_told(text: str, why: str) -> None:
    if not why:
        check([text])
        return
    with pytest.raises(ConfigError, match="not installed here") as fault:
        check(["click", text])
    assert why in fault.value.message and fault.value.fix.endswith(f"-m pip install {quoted(text)}")


def quoted(text: str) -> str:
    return f"'{text}'" if ">" in text else text


def test_the_packages_of_an_extra_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, wants in {
        "shop": ["click>=99 ; extra == 'big'", "none"],
        "round": ["shop[big] ; extra == 'all'"],
    }.items():
        folder = tmp_path / f"{name}-1.0rc1.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: {each}" for each in [*wants, f"{name}[all] ; extra == 'all'"]]
        (folder / "METADATA").write_text("\n".join([f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0rc1", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    check(["shop", "shop>=0.9", "round"])
    for text in ("shop[big]", "round[all]"):
        with pytest.raises(ConfigError, match="click>=99 is wanted"):
            check([text])


def test_what_names_a_place_or_cannot_be_read_is_said_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    check(["git+https://x.example/a.git", "./here", "--index-url x"])
    assert capsys.readouterr().err.count("was not looked at") == 3
    check(["torch == 2 --hash x"], is_strict=False)
    assert capsys.readouterr().err.count("was not looked at") == 1
    with pytest.raises(ConfigError, match="none of pip's requirements"):
        check(["torch == 2 --hash x"])
