"""What has become of a job so far: each start, why it ended, and what the job waits for now. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of a job's workers."""

    number: int
    """1 is the first."""
    began_at: str = ""
    """ISO 8601; empty if its workers never ran."""
    ended_at: str = ""
    """Empty while it goes on."""
    why: str = ""
    """Why it ended."""

    @property
    def lasted_s(self) -> float | None:
        """Seconds from its beginning to its end; None if it has not had both."""
        if not (self.began_at and self.ended_at):
            return None
        return (datetime.fromisoformat(self.ended_at) - datetime.fromisoformat(self.began_at)).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Why a job is where it is."""

    state: str
    why: str
    """What it waits for, or why it ended, in words."""
    start: int
    """The present start, or the one it waits for; 1 is the first."""
    limit: int | None
    """How many starts there may be of one that is started again after a failure; lost ones, and those that were stopped
    for others, do not count, so it grows by them. None: a service, or a job without retries."""
    made_room: int = 0
    """How often it was stopped for another job."""
    left_node: int = 0
    """How often it was stopped because a node was drained."""
    pause_left_s: float = 0.0
    """Until it may be started again."""
    reasons: tuple[Mapping[str, Any], ...] = ()
    """Why it waits, for programs: each with `code`, `words` and `facts`."""
    starts_between: tuple[str, str] | None = None
    """Between which moments (ISO 8601) it probably starts, 8 times in 10."""
    starts: tuple[Start, ...] = ()
    """Those that have begun, oldest first; of very many the latest."""
    events: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {**asdict(self), "starts": [{**asdict(one), "lasted_s": one.lasted_s} for one in self.starts]}

    def lines(self) -> list[str]:
        """All of it for a person: why, then a line for each earlier start."""
        earlier = [one for one in self.starts if one.ended_at and (one.number < self.start or self.start > 1)]
        between = " and ".join(map(clock, self.starts_between or ()))
        soon = [f"probably starts between {between}"] if between else []
        return [f"{self.state}: {self.why}", *soon, *(f"{self.which(one.number)}: {_ending(one)}" for one in earlier)]

    def which(self, number: int) -> str:
        """A start in words: `start 2 of 4`."""
        return f"start {number}" if self.limit is None else f"start {number} of {self.limit}"

    @property
    def stopped(self) -> str:
        """How often it was stopped though it had not failed, in words; empty if it was not."""
        room = f"stopped {times(self.made_room)} to make room" if self.made_room else ""
        node = f"moved {times(self.left_node)} off a node that was drained" if self.left_node else ""
        return "; ".join(filter(None, (room, node)))


def times(count: int) -> str:
    """A number of times in words."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def clock(moment: str) -> str:
    """A moment as people say it here: the time, and the day if it is another."""
    at = datetime.fromisoformat(moment).astimezone()
    return f"{at:%H:%M:%S}" if at.date() == datetime.now(at.tzinfo).date() else f"{at:%Y-%m-%d %H:%M}"


def _pair(found: Sequence[str] | None) -> tuple[str, str] | None:
    return None if not found else (found[0], found[1])


def tell_story(job: Mapping[str, Any], said: Mapping[str, Any], now: datetime) -> Story:
    """The story of a job.

    Args:
        job: its fields.
        said: `{state, why, events}`, as the server answers.
        now: for the pause that is left.
    """
    status, spec, events = job["status"], job["spec"], said["events"]
    generation = int(status.get("generation", 0))
    uncounted = max(0, generation - int(status.get("failures", 0)))
    left_s = (
        max(0.0, int(status.get("not_before", 0)) / 1_000_000 - now.timestamp()) if said["state"] == "queued" else 0
    )
    story = Story(
        state=said["state"],
        why=str(said["why"]),
        start=generation + 1,
        limit=int(spec["retries"]) + 1 + uncounted if spec.get("retries") and not spec.get("is_service") else None,
        made_room=int(status.get("preemptions", 0)) - int(status.get("moves", 0)),
        left_node=int(status.get("moves", 0)),
        pause_left_s=round(left_s, 1),
        reasons=tuple(said.get("reasons") or ()),
        starts_between=_pair(said.get("starts_between")),
        starts=starts(events),
        events=tuple(events),
    )
    return replace(story, why=_plain_why(story, job["name"], now))


def _plain_why(story: Story, name: str, now: datetime) -> str:
    """The server's reason, or a plainer one where that says little."""
    last = story.events[-1] if story.events else {}
    if story.state == "queued" and story.pause_left_s:
        return f"{story.which(story.start)} comes in {story.pause_left_s:g} s"
    if story.state in ("queued", "placed") and (last.get("verb") == "created" and story.why == name):
        return "about to be placed"
    if story.state == "placed":
        return f"{story.why}; its workers are being started"
    if story.state == "running" and story.starts:
        seconds = (now - datetime.fromisoformat(story.starts[-1].began_at)).total_seconds()
        before = f"; {story.stopped}" if story.stopped else ""
        return f"{story.which(story.start)}, for {max(0, seconds):.0f} s{before}"
    return story.why


def starts(events: Sequence[Mapping[str, Any]]) -> tuple[Start, ...]:
    """The starts that a job's events tell of, oldest first."""
    found: dict[int, dict[str, str]] = {}
    for event in events:
        before, arrow, after = event["verb"].partition("->")
        if not arrow or before == "queued":
            continue
        is_again = after == "queued"
        number = int(event["data"].get("generation", 0)) + (0 if is_again else 1)
        start = found.setdefault(number, {})
        if after == "running":
            start["began_at"] = event["at"]
            continue
        start.setdefault("why", event["why"])  # the first word on it: "worker 0 ended: ..."
        if after != "stopping":
            start["ended_at"] = event["at"]
    return tuple(Start(number=number, **facts) for number, facts in sorted(found.items()))


def _ending(start: Start) -> str:
    """How a start ended, in words."""
    return start.why if start.lasted_s is None else f"{start.why}, after {start.lasted_s:.1f} s"
