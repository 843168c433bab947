"""Whether a gang that has ended is started again, and after which pause. The reason of the ending decides."""

from lepton.core.launch import ExitReason
from lepton.jobs.spec import JobSpec

MAX_LOST = 20
"""A job whose workers vanish again and again without a record is given up after so many starts."""
MAX_STILLBORN = 2
"""A service that has never answered is started so many times more; what it said is in its log."""
MAX_PAUSE_S = 60.0


def pause_before_retry(
    spec: JobSpec, reason: ExitReason, *, failures: int, losses: int, was_ready: bool = False
) -> float | None:
    """Seconds until the gang may be started again; None: it may not.

    Args:
        reason: why the first worker ended.
        failures: how often the gang had failed by its own fault before.
        losses: how often it had been lost without its own fault before.
        was_ready: for a service: whether it has ever answered.
    """
    if spec.stop_grace_s is not None:
        return None
    if reason is ExitReason.NOT_STARTED:  # no later try could do better
        return None
    if spec.is_service and not was_ready and reason is not ExitReason.LOST and failures >= MAX_STILLBORN:
        return None
    if spec.is_service:
        return min(MAX_PAUSE_S, 0.1 * 2.0 ** min(failures + losses, 10))
    if reason is ExitReason.LOST:
        return 0.0 if losses < MAX_LOST else None
    return min(MAX_PAUSE_S, 0.5 * 2.0 ** min(failures, 7)) if failures < spec.retries else None


def pause_after_refusal(refusals: int) -> float:
    """Seconds until a start that the engine refused is tried again; a full disk may be freed any time.

    Args:
        refusals: how often it had been refused before.
    """
    return 0.0 if refusals == 0 else min(MAX_PAUSE_S, 0.5 * 2.0 ** min(refusals, 7))
