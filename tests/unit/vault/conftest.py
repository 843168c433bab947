"""A vault for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.vault.stores import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()
