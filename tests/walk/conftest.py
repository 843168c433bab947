"""One undisturbed walk, taken once: what every disturbed one is compared with."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import pytest

from tests.walk.house import ONCE, SHORT, House, opened_house


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A platform that `lepton walk --fresh --keep` has left up."""

    house: House
    said: str
    seconds: float
    digests: dict[tuple[str, str], list[str]]
    """Of what is made anew with equal content by every walk."""


@pytest.fixture(scope="session")
def undisturbed() -> Iterator[Undisturbed]:
    with opened_house() as house:
        start = monotonic()
        done = house.lepton("walk", "--fresh", "--keep", *SHORT, "--data", str(house.data))
        seconds = monotonic() - start
        assert done.returncode == 0, done.stdout + done.stderr
        digests = {name: found for name, found in house.versions().items() if name in ONCE}
        yield Undisturbed(house, done.stdout, seconds, digests)


@pytest.fixture
def house() -> Iterator[House]:
    with opened_house() as found:
        yield found


@pytest.fixture(scope="module")
def up() -> Iterator[House]:
    """A platform that runs for all tests of a file."""
    with opened_house() as house:
        house.up()
        yield house
        house.end()
