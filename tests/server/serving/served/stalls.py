"""Services of which one call holds up all others of its replica, until the test lets it go."""

import os
from pathlib import Path

from lepton.serve import Service, handler

FOLDER = Path(os.environ.get("STALLS_FOLDER", "."))


def run(number: int) -> int:
    """Note that it was begun; 0 waits for a writer of the pipe."""
    with (FOLDER / "begun").open("a") as file:
        file.write(f"{number}\n")
    if number == 0:
        (FOLDER / "gate").read_bytes()
    return os.getpid()


class Plain(Service):
    @handler
    def work(self, number: int) -> int:
        return run(number)


class Batched(Service):
    @handler(batch=1)
    def work(self, number: list[int]) -> list[int]:
        return [run(one) for one in number]


class Async(Service):
    """Its coroutine never lets the loop go on."""

    @handler
    async def work(self, number: int) -> int:
        return run(number)


class Threaded(Service):
    """With one thread for its plain function, beside a loop that goes on."""

    @handler
    def work(self, number: int) -> int:
        return run(number)

    @handler
    async def other(self) -> None:
        return None
