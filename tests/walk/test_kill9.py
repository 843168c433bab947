"""kill -9 of the server anywhere in the walk: started again, it finishes it, and nothing is lost or doubled."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import numpy as np
import pytest

from tests.walk.conftest import Undisturbed
from tests.walk.house import ONCE, SHORT, WALK_S, Books, House, wait_until

POINTS = 20
SEED = 3


def points(count: int) -> list[float]:
    """Seeded points of the walk as shares of its time."""
    random = Random(SEED)
    return [round(random.uniform(0.01, 0.99), 3) for _ in range(count)]


def walk_with_kills(house: House, undisturbed: Undisturbed, shares: Sequence[float]) -> None:
    """Walk; kill and restart the server at each share of the undisturbed walk's time; check all that is left."""
    house.up()
    walk = house.begin("walk", "--keep", *SHORT)
    passed = 0.0
    for share in sorted(shares):
        with suppress(subprocess.TimeoutExpired):
            walk.wait((share - passed) * undisturbed.seconds)
        passed = share
        house.kill()
        house.up()
    assert walk.wait(WALK_S) == 0, (house.folder / "walk.out").read_text()
    found = {name: digests for name, digests in house.versions().items() if name in ONCE}
    assert found == undisturbed.digests
    check_endpoint(house)
    house.end()
    wait_until(lambda: not house.left_running(), "nothing is left running")
    Books(house.data).check()


def check_endpoint(house: House) -> None:
    """The endpoint answers while the server is dead, and at the same address once it is back."""
    endpoint = house.client.serve.get("digits")
    image = np.zeros((1, 28, 28), np.uint8)
    address = endpoint.url
    assert endpoint.predict(image)["outputs"]
    house.kill()
    assert endpoint.predict(image)["outputs"]
    house.up()
    again = house.client.serve.get("digits").wait()
    assert again.url == address
    assert again.predict(image)["outputs"]


def test_a_server_killed_three_times_in_one_walk_finishes_it(house: House, undisturbed: Undisturbed) -> None:
    walk_with_kills(house, undisturbed, [0.06, 0.4, 0.9])


@pytest.mark.slow
@pytest.mark.parametrize("share", points(POINTS))
def test_a_server_killed_at_any_point_finishes_the_walk(house: House, undisturbed: Undisturbed, share: float) -> None:
    walk_with_kills(house, undisturbed, [share])
