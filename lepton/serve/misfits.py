"""What of a request does not fit a handler's annotations, as its sender would say it: where, what was expected, what
came, all in JSON. The one place here where pydantic's findings become sentences."""

import json
import re
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from lepton.core.errors import InvalidError, clip
from lepton.serve.annotations import alternatives, hints_of

MOST_TOLD = 2
"""Fields; of more their number."""
MOST_SHOWN = 80
"""Characters of what came."""
Finding = Mapping[str, Any]
"""One of pydantic's `errors()`: type, loc, msg, input and ctx."""
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "iterable": "a list",
    "dict": "an object",
    "mapping": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "dataclass": "an object",
    "bytes": "bytes, which are base64 in JSON",
    "date": "a date as 2026-01-31",
    "datetime": "a time as 2026-01-31T12:00:00Z",
    "time": "a time of day as 12:00:00",
    "uuid": "a UUID",
    "url": "a URL",
}
TAIL = re.compile(r"_(type|parsing|parsing_size|sub_type|unicode|from_float|from_date\w*|exact_type|syntax_violation)$")
"""What is wrong with a kind, which is behind its name."""
FORMS = {
    "none_required": "null",
    "bytes_invalid_encoding": "base64",
    "finite_number": "a finite number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "too_short": "a list of at least {min_length} items",
    "too_long": "a list of at most {max_length} items",
}
KEY = " (the key)"
PYTHON = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(?:True|False|None)\b|-?\b[0-9]+(?:\.[0-9]+)?\b""")
"""A value as Python writes it."""
SHOULD = "should be "
SAID = re.compile(r": |, not ")
"""A text that has it says itself what came."""
ONE = re.compile(r"\b1 (item|character)s")


class Misfit(NamedTuple):
    """One finding."""

    path: tuple[str, ...]
    """Where, as it was sent."""
    union: int | None
    """How much of the path leads to the outermost value that may be of several types; None: to none."""
    branch: tuple[Any, ...]
    """Which of these types it is of."""
    finding: Finding


def explain(fault: ValidationError, sent: Any, kind: Any) -> InvalidError:
    """What was wrong, naming the fields.

    Args:
        sent: all that was looked at.
        kind: its annotation; or by the names of its fields, theirs.
    """
    findings = fault.errors(include_url=False)
    if findings[0]["type"] == "json_invalid":
        why = str(findings[0]["ctx"]["error"])
        if "recursion limit" in why:
            return InvalidError("The body is nested too deeply", fix="Send fewer levels, at most some 200.")
        return InvalidError(f"The body is no JSON: {why}", fix="Send JSON in UTF-8.")
    groups: dict[Any, list[Misfit]] = {}
    for number, finding in enumerate(findings):
        misfit = _place(finding, sent)
        groups.setdefault(number if misfit.union is None else misfit.path[: misfit.union], []).append(misfit)
    told = [_tell(group, kind) for group in list(groups.values())[:MOST_TOLD]]
    rest = f" (and {len(groups) - MOST_TOLD} more)" if len(groups) > MOST_TOLD else ""
    return InvalidError("; ".join(told) + rest, fix="See /docs for what it takes.")


def _place(finding: Finding, sent: Any) -> Misfit:
    """Find what of its place is of what was sent: pydantic puts the names of a union's types among that."""
    path: list[str] = []
    union, branch, at, where = None, (), sent, finding["loc"]
    for number, part in enumerate(where):
        is_missing = finding["type"] == "missing" and number == len(where) - 1
        is_item = isinstance(at, list | tuple) and isinstance(part, int) and part < len(at)
        if is_missing or is_item or (isinstance(at, Mapping) and part in at):
            path.append(str(part))
            at = None if is_missing else at[part]
        elif part == "[key]":
            path[-1:] = [f"{one}{KEY}" for one in path[-1:]]
        elif union is None:
            union, branch = len(path), where[: number + 1]
    if finding["type"].startswith("union_tag") and (name := PYTHON.fullmatch(finding["ctx"]["discriminator"])):
        path.append(str(literal_eval(name[0])))
    return Misfit(tuple(path), union, branch, finding)


def _tell(group: Sequence[Misfit], kind: Any) -> str:
    """One field's; of one that may be of several types what is wrong with each, first with those that fit the most."""
    branches = {misfit.branch: misfit for misfit in reversed(group)}.values()
    places: dict[tuple[str, ...], list[Finding]] = {}
    for misfit in sorted(reversed(branches), key=lambda misfit: -len(misfit.path)):
        places.setdefault(misfit.path, []).append(misfit.finding)
    return "; or ".join(_tell_place(path, findings, kind) for path, findings in places.items())


def _tell_place(path: tuple[str, ...], findings: Sequence[Finding], kind: Any) -> str:
    """What is wrong with one value."""
    place = clip(".".join(path), MOST_SHOWN) or "body"
    types = {finding["type"] for finding in findings}
    if types & {"missing", "union_tag_not_found"}:
        return f"{place}: is missing"
    if "extra_forbidden" in types:
        return f"{place}: is unknown"
    wanted = [words for finding in findings for words in _wanted(finding)]
    others = [_text(finding) for finding in findings if not _wanted(finding)]
    about = findings[0].get("ctx") or {}
    came = show(about["tag"] if "tag" in about else findings[0].get("input"))
    if wanted and all(map(_is_kind, findings)) and _may_be_null(kind, path):
        wanted.append("null")
    if wanted:
        others.insert(0, f"should be {listed(wanted)}, not {came}")
    else:
        others[-1] += f" (it is {came})"
    return f"{place}: " + "; or ".join(others)


def _wanted(finding: Finding) -> list[str]:
    """What it should be, which may be one of several; empty: only pydantic, or a validator, has words for that."""
    kind, about = finding["type"], finding.get("ctx") or {}
    if kind in FORMS:
        plain = {name: f"{value:g}" if isinstance(value, float) else value for name, value in about.items()}
        return [ONE.sub(r"1 \1", FORMS[kind].format_map(plain))]
    if (name := TAIL.sub("", kind)) in KINDS and name != kind:
        return [KINDS[name]]
    told = str(about.get("expected") or about.get("expected_tags") or "")
    if told and not PYTHON.sub("", told).replace(" or ", "").strip(", "):
        return [show(literal_eval(word)) for word in PYTHON.findall(told)]
    text = _text(finding)
    return [text.removeprefix(SHOULD)] if text.startswith(SHOULD) and not SAID.search(text) else []


def _text(finding: Finding) -> str:
    text = str(finding["msg"]).replace("Input should be ", SHOULD)
    return clip(text.removeprefix("Value error, ").removeprefix("Assertion failed, "))


def _is_kind(finding: Finding) -> bool:
    """Whether it was the kind of value that did not fit."""
    return finding["type"] not in FORMS


def _may_be_null(kind: Any, path: Iterable[str]) -> bool:
    """Whether the annotation of that place says so."""
    kinds: tuple[Any, ...] = (kind,)
    for part in path:
        kinds = tuple(inner for one in kinds for inner in alternatives(one) if inner is not None)
        kinds = tuple(inner for one in kinds for inner in _within(one, part))
    return any(one in (None, type(None)) for kind in kinds for one in alternatives(kind))


def _within(kind: Any, part: str) -> Iterator[Any]:
    """The annotation of a part of it."""
    fields = kind if isinstance(kind, Mapping) else hints_of(kind)
    if part in fields:
        yield fields[part]
    elif not fields:
        yield from get_args(kind)[-1:]


def listed(words: Sequence[str]) -> str:
    """Each once: `a, b or c`."""
    *most, last = [one for one in dict.fromkeys(words) if one != KINDS["int"] or KINDS["float"] not in words]
    return f"{', '.join(most)} or {last}" if most else last


def show(value: Any) -> str:
    """A value as JSON, no more than its beginning; what is none by its kind."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    shown = ""
    try:
        for part in json.JSONEncoder(ensure_ascii=False).iterencode(
            value[:MOST_SHOWN] + "." if _is_long(value) else value
        ):
            shown += part[: MOST_SHOWN + 1]
            if len(shown) > MOST_SHOWN:
                return f"{shown[:MOST_SHOWN]}..."
    except (TypeError, ValueError):
        return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "a file"
    return shown


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > MOST_SHOWN
