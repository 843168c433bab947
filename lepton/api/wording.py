"""What is wrong with a request, in our own words: the one place where pydantic's findings become sentences.

A sentence names the field, what came and what is wanted; the fix is also of use to somebody who typed a flag.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from lepton.api import wire, wishes
from lepton.api.match import TAGS
from lepton.core.errors import InvalidError, clip

BODY, NO_BODY, BODY_FIX = "the body", "The request has no body", "Send one JSON object."
MOST_TOLD = 3
MOST_VALUE = 80
Finding = Mapping[str, Any]
"""One of pydantic's `errors()`: type, loc, input and ctx."""
PLACES = {"body", "query", "path", "header", "cookie"}
WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "dataclass": "an object",
    "finite_number": "a finite number",
}
KINDS: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
BOUNDS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "{} or more"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "{} or less"),
}
LENGTHS = {
    "string_too_long": ("max_length", "at most {} characters"),
    "string_too_short": ("min_length", "at least {} characters"),
    "too_long": ("max_length", "at most {} items"),
    "too_short": ("min_length", "at least {} items"),
}
NAMES = "1 to 63 of a-z 0-9 . _ - , starting and ending with a letter or digit, without '..'"
REFS = "name, name@3 or the id of a version"
IDS = "an id, as the list command shows it"
LABELS = "the name of a label: 1 to 63 letters, digits and _ . / -, starting with a letter or digit"
PATTERNS = {
    wire.NAME: NAMES,
    wire.MAYBE_NAME: NAMES,
    wire.REF: REFS,
    wire.MAYBE_REF: REFS,
    wire.ID: IDS,
    wire.MAYBE_ID: IDS,
    wishes.LABEL: LABELS,
    wishes.MAYBE_LABEL: LABELS,
    r"^[0-9a-f]{64}$": "a SHA-256: 64 lower-case hexadecimal digits",
    r"^[A-Za-z_][A-Za-z0-9_]{0,127}$": "a variable's name: letters, digits and _ , not starting with a digit",
    r"^[A-Za-z0-9_./-]+$": "letters, digits and _ . / - only",
    r"^[A-Za-z0-9_./-]*$": "letters, digits and _ . / - only",
    wire.BRANCH: "a branch's name: small letters, digits and . _ - , starting with a letter or digit",
    wire.ANYTHING: "*, which stands for whatever is there",
    r"^(/|$)": "an absolute path",
    wire.WATCH: "32 hexadecimal digits, made up by who watches",
    r"^[0-9]{1,18}$": "a revision, which is the id of an event: digits only",
    TAGS: "one or more ETags as the server gave them, quotes and all, or *",
}
"""The forms that fields have, in words; tests see that none is forgotten."""


def invalid(findings: Sequence[Finding], known: Callable[[Sequence[Any]], Sequence[str]]) -> InvalidError:
    """The error that tells of everything that is wrong with a request.

    Args:
        known: the names that are known beside an unknown one, by where it was found.
    """
    told = [_explain(finding, known) for finding in findings[:MOST_TOLD]]
    more = len(findings) - len(told)
    message = "; ".join(message for message, _ in told) + (f" (and {more} more)" if more else "")
    fixes = dict.fromkeys(fix for _, fix in told)
    return InvalidError(message, fix=" ".join(fixes))


def _explain(finding: Finding, known: Callable[[Sequence[Any]], Sequence[str]]) -> tuple[str, str]:
    """(what is wrong, what to do)."""
    kind, given = finding["type"], finding.get("input")
    place = _place(finding["loc"])
    about = finding.get("ctx", {})
    if kind == "missing":
        return (NO_BODY, BODY_FIX) if place == BODY else (f"{place} is missing", f"Give {place}.")
    if kind == "extra_forbidden":
        return f"{place} is unknown", nearest(str(finding["loc"][-1]), known(finding["loc"]))
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        wanted = words.format(_plain(about[name]))
        return f"{place} is {_value(given)}; it must be {wanted}", f"Give {wanted} for {place}."
    if kind in LENGTHS:
        name, words = LENGTHS[kind]
        wanted = words.format(about[name])
        size = len(given) if isinstance(given, str | list | dict) else about.get("actual_length")
        return f"{place} has {size} {wanted.split()[-1]}; {wanted} are taken", f"Give {wanted} for {place}."
    return _explain_value(kind, place, given, about, finding)


def _explain_value(kind: str, place: str, given: Any, about: Finding, finding: Finding) -> tuple[str, str]:
    if kind == "string_pattern_mismatch":
        form = PATTERNS.get(about["pattern"], f"of the form {about['pattern']}")
        return f"{place} is {_value(given)}, which is not {form}", f"For {place}, give {form}."
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        expected = str(about.get("expected") or about.get("expected_tags")).replace("''", "nothing")
        came = about.get("tag", given)
        return f"{place} is {_value(came)}, which is not known here", f"Use one of: {expected}."
    if kind == "union_tag_not_found":
        return f"{place} does not say its type", f"Give {place} a type."
    if kind in ("value_error", "assertion_error"):
        message, *fix = about["error"].args
        return clip(message), fix[0] if fix else "Mend what the message names."
    wanted = WANTED.get(kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from"), "")
    if kind in ("int_from_float", "int_parsing_size"):
        wanted = "a whole number of 64 bits"
    if not wanted:
        return f"{place}: {clip(str(finding['msg']))}", f"Change {place}."
    if place == BODY and given is None:
        return NO_BODY, BODY_FIX
    came = _kind(given) if wanted == WANTED["string"] or isinstance(given, list | dict) else _value(given)
    return f"{place} is {came}; {wanted} is wanted", f"Give {wanted} for {place}."


def nearest(name: str, known: Sequence[str]) -> str:
    """What to do about an unknown name."""
    close = get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(known)}." if known else "Leave it out; nothing is taken here."


def fields_beside(model: Any, where: Sequence[Any]) -> list[str]:
    """The fields that a body's model has where an unknown one was found."""
    for part in where[1:-1]:
        model = _within(model, part)
    return sorted(model.model_fields) if _is_model(model) else []


def _within(model: Any, part: Any) -> Any:
    """The model of one part of a body: of a field, an item of a list, or one of several types."""
    model = get_args(model)[0] if get_origin(model) is Annotated else model
    if _is_model(model):
        return model.model_fields[part].annotation if part in model.model_fields else None
    inner = get_args(model)
    typed = [
        one
        for one in inner
        if _is_model(one) and "type" in one.model_fields and get_args(one.model_fields["type"].annotation) == (part,)
    ]
    return next(iter([*typed, *reversed(inner)]), None)


def _is_model(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _place(where: Sequence[Any]) -> str:
    """Where something is, as whoever sent it would say."""
    parts = [str(part) for part in (where[1:] if where and where[0] in PLACES else where)]
    return clip(".".join(part for part in parts if part != "[key]"), MOST_VALUE) or BODY


def _value(given: Any) -> str:
    """What came, as JSON, clipped."""
    try:
        return clip(json.dumps(given, ensure_ascii=False), MOST_VALUE)
    except (TypeError, ValueError, UnicodeError):
        return _kind(given)


def _kind(given: Any) -> str:
    """What kind of thing came, and no more of it: where text is wanted, it may be a secret."""
    return "null" if given is None else KINDS.get(type(given), "an object")


def _plain(number: Any) -> str:
    return f"{number:,}".replace(",", "") if not isinstance(number, float) else f"{number:g}"
