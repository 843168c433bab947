"""What a server keeps of all that lives is not looked at by every collection of garbage: it holds no circles."""

import gc

MANY = 5_000
"""Living jobs from which on a full collection would hold the server up noticeably: 3 to 4 us for each."""


def settle(jobs: int) -> None:
    """So many jobs have been taken in at once: what is there now is left out of later collections, until it goes."""
    if jobs >= MANY:
        gc.collect()
        gc.freeze()
