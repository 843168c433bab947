"""What the code of an endpoint says it needs, held against what is installed here. Nothing is ever installed."""

import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import InvalidRequirement, Requirement

from lepton.core.errors import ConfigError, clip

ELSEWHERE = re.compile(r"[a-z+]+://|git\+|[./-]")
"""How a requirement begins that names a place, or an option of pip, and no package."""
MOST_SHOWN = 5


def check(requirements: Iterable[str], *, is_strict: bool = True) -> None:
    """Return if all are met here; of those that name a place and no package it is only said that nobody looked.

    Args:
        is_strict: one that cannot be read is a fault; else that, too, is only said.

    Raises:
        ConfigError: one is not met, or is none; the fix is the command that installs what is missing.
    """
    missing = {}
    for text in filter(None, dict.fromkeys(each.partition(" #")[0].strip() for each in requirements)):
        wanted = None if ELSEWHERE.match(text) else read(text, is_strict=is_strict)
        if wanted is None:
            sys.stderr.write(f"serve: whether {clip(text, 200)!r} is installed was not looked at\n")
        elif whys := list(_lacks(wanted, "", frozenset())):
            missing[text] = "; ".join(whys)
    if missing:
        whys = list(missing.values())
        more = f"; and {len(whys) - MOST_SHOWN} more" if len(whys) > MOST_SHOWN else ""
        raise ConfigError(
            f"The code needs what is not installed here: {'; '.join(whys[:MOST_SHOWN])}{more}",
            fix=f"Where it runs: {shlex.quote(sys.executable)} -m pip install {shlex.join(missing)}",
        )


def read(text: str, *, is_strict: bool) -> Requirement | None:
    """A requirement; None: it is none.

    Raises:
        ConfigError: likewise, if that is a fault.
    """
    try:
        return Requirement(text)
    except InvalidRequirement as fault:
        if not is_strict:
            return None
        raise ConfigError(
            f"{clip(text, 200)!r} is none of pip's requirements: {str(fault).splitlines()[0]}",
            fix='Write e.g. "scikit-learn>=1.5".',
        ) from None


def _lacks(wanted: Requirement, extra: str, above: frozenset[tuple[str, str]]) -> Iterator[str]:
    """What of a requirement is missing, that of its extras with it.

    Args:
        extra: of the package that wants it.
        above: packages and extras of them that are being looked at.
    """
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
        return
    try:
        found = distribution(wanted.name)
    except PackageNotFoundError:
        yield f"{wanted.name}{wanted.specifier} is missing"
        return
    if not wanted.specifier.contains(found.version, prereleases=True):
        yield f"{wanted.name}{wanted.specifier} is wanted, {found.version} is there"
    for name in sorted(wanted.extras):
        for each in map(Requirement, found.requires or () if (wanted.name, name) not in above else ()):
            if each.marker is not None and not each.marker.evaluate({"extra": ""}):
                yield from _lacks(each, name, above | {(wanted.name, name)})
