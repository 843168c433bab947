"""Damage told with the name of what it was found in."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lepton.core.errors import DamagedError, IntegrityError

FIX = "Send it again, or have the vault made whole: lepton vault repair --from URL"


@contextmanager
def finding(what: str) -> Iterator[None]:
    """Tell what is damaged.

    Raises:
        DamagedError: what is done meanwhile met damage that has no name yet.
    """
    try:
        yield
    except DamagedError:
        raise
    except IntegrityError as fault:
        raise DamagedError(f"{what} cannot be read whole: {fault.message}", fix=FIX) from fault


def named(what: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of something; raises as `finding`, in the middle of them."""
    with finding(what):
        yield from pieces
