"""The fixture `house`: a platform of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import compile_live
from tests.server.house import House, open_house


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    """Compile what a server decides with before any test waits for a decision: that takes most of a minute."""
    compile_live()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path / "data") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One platform for tests that leave no trace that another could trip over."""
    with open_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened
