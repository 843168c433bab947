"""What a launch does where nothing really runs: its course, written in its parameters, and the log it leaves.

`Launch.params["course"]` is an object with `seconds` (a number, or "inf": until it is stopped), `code` or `reason`,
`detail`, `output` and `ignores_stop`, each with the meaning of the field of `Course`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from shlex import join

from lepton.core.errors import InvalidError
from lepton.core.launch import Exit, ExitReason, Launch

DONE = Exit(reason=ExitReason.DONE, code=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What happens to one launch if nobody interferes."""

    seconds: float = 1.0
    """`math.inf`: runs until it is stopped."""
    exit: Exit = DONE
    output: bytes = b""
    """Written at once."""
    ignores_stop: bool = False
    """It does not end when asked politely, only when killed."""


def course_of(launch: Launch) -> Course:
    """The course written in the launch's parameters; one second if there is none.

    Raises:
        InvalidError: what is written there is no course.
    """
    wish = launch.params.get("course", {})
    try:
        code, seconds = int(wish.get("code", 0)), float(wish.get("seconds", 1.0))
        reason = ExitReason(wish.get("reason", ExitReason.FAILED if code else ExitReason.DONE))
        output, detail = str(wish.get("output", "")).encode(), str(wish.get("detail", ""))
    except (AttributeError, TypeError, ValueError, OverflowError) as fault:
        raise _no_course(launch, fault) from fault
    if not seconds >= 0 or not 0 <= code <= 255:
        raise _no_course(launch, f"seconds is {seconds}, code is {code}")
    by_itself = reason in (ExitReason.DONE, ExitReason.FAILED)
    return Course(
        seconds=seconds,
        exit=Exit(reason=reason, code=code if by_itself else None, detail=detail),
        output=output,
        ignores_stop=bool(wish.get("ignores_stop", False)),
    )


def words(launch: Launch) -> str:
    """What would have run."""
    return join(launch.command) if launch.command else launch.entry


def kept(log: bytes, limit_bytes: int, offset: int) -> Iterator[bytes]:
    """What an engine gives of a whole log from byte `offset` on, if it keeps only the newest `limit_bytes` bytes."""
    oldest = max(0, len(log) - limit_bytes)
    if oldest > offset:
        yield b"[lepton: %d bytes dropped]\n" % (oldest - offset)
    if rest := log[max(offset, oldest) :]:
        yield rest


def _no_course(launch: Launch, why: object) -> InvalidError:
    return InvalidError(
        f"The course of launch {launch.key} cannot be followed: {why}",
        fix='Write e.g. {"seconds": 5, "code": 0, "output": "text", "ignores_stop": false}.',
    )
