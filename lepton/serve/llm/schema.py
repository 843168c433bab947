"""Which JSON schemas the grammars of llama.cpp follow: what they would quietly leave out is found before. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

NEVER = ("not", "if", "then", "else", "$dynamicRef")
"""Keywords that no grammar follows, whatever the type."""
OF_TYPES: Mapping[str, tuple[str, ...]] = {
    "object": (
        *("properties", "required", "additionalProperties", "minProperties", "maxProperties", "patternProperties"),
        *("propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
    ),
    "array": (
        *("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
        "unevaluatedItems",
    ),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""Type -> the keywords that say something of its values."""
OBJECTS = ("properties", "required", "additionalProperties")
BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
FORMATS = re.compile(r"date|time|date-time|uuid[1-5]?")
MANY, DEEPEST = ("anyOf", "oneOf"), 64
LETTER = r'[^\\\[\]()^$|*+?{}"]'
ESCAPE = r"\\[\^$.\[\]()|{}*+?\-\\]"
CLASS = r'\[\^?(?:[^\\\[\]"^]|\\[\\\]\[\-])+\]'
PATTERN = re.compile(rf"(?:\((?:\?:)?|\||(?:{LETTER}|{ESCAPE}|{CLASS}|\))(?:[*+?]|\{{\d+(?:,\d*)?\}})?)*")
"""Of a regular expression between its anchors."""


def unfollowed(schema: Any, path: str = "#", depth: int = 0) -> Iterator[str]:
    """Paths of keywords, e.g. `#/properties/age/multipleOf`, that a grammar of this schema would not follow."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return
    for name in ("$defs", "definitions", "properties"):
        for key, part in _parts(schema.get(name)):
            yield from unfollowed(part, f"{path}/{name}/{key}", depth + 1)
    for name in ("items", "additionalProperties"):
        yield from unfollowed(schema.get(name), f"{path}/{name}", depth + 1)
    for name in ("prefixItems", *MANY):
        for number, part in enumerate(_list(schema.get(name))):
            yield from unfollowed(part, f"{path}/{name}/{number}", depth + 1)
    for number, part in enumerate(_list(schema.get("allOf"))):
        yield from _part_of_all(part, f"{path}/allOf/{number}", depth + 1)
    for name in dict.fromkeys(_lost(schema)):
        yield f"{path}/{name}"


def _part_of_all(schema: Any, path: str, depth: int) -> Iterator[str]:
    """Of several schemas that all hold the fields are put together, or the values that are in each."""
    if isinstance(schema, Mapping):
        yield from unfollowed({name: value for name, value in schema.items() if name != "required"}, path, depth)
        merged = ("properties", "required")
        others = dict.fromkeys(name for names in OF_TYPES.values() for name in names if name not in merged)
        yield from (f"{path}/{name}" for name in others if name in schema)


def _lost(schema: Mapping[str, Any]) -> Iterator[str]:
    """Keywords of this very schema."""
    yield from (name for name in NEVER if name in schema)
    kinds = schema.get("type")
    said = kinds if isinstance(kinds, list) else [kinds] if kinds else list(OF_TYPES)
    chosen = next((name for name in ("$ref", "oneOf", "anyOf", "const", "enum") if name in schema), "")
    if chosen:
        others = [name for name in (*MANY, "allOf") if name in schema and name != chosen]
        yield from others
        yield from (name for kind in said for name in OF_TYPES.get(kind, ()) if name in schema)
    elif kinds:
        yield from (name for kind in said for name in _lost_of(schema, kind))
    else:
        guessed = _guess(schema)
        yield from _lost_of(schema, guessed)
        yield from (name for kind in OF_TYPES if kind != guessed for name in OF_TYPES[kind] if name in schema)


def _guess(schema: Mapping[str, Any]) -> str:
    """The type of one that does not say it."""
    if any(name in schema for name in ("properties", "additionalProperties", "allOf")):
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string" if "pattern" in schema else ""


def _lost_of(schema: Mapping[str, Any], kind: str) -> Iterator[str]:
    given = [name for name in OF_TYPES.get(kind, ()) if name in schema]
    if kind == "object":
        yield from (name for name in given if name not in OBJECTS and schema[name] not in (0, {}))
        yield from _lost_of_object(schema)
    elif kind == "array":
        yield from _lost_of_array(schema, given)
    elif kind == "string":
        yield from _lost_of_text(schema, given)
    elif kind == "integer":
        yield from _lost_of_whole(schema, given)
    else:
        yield from given


def _lost_of_object(schema: Mapping[str, Any]) -> Iterator[str]:
    fields = schema.get("properties")
    if "allOf" in schema:
        yield from (name for name in OBJECTS if name in schema)
    elif set(map(str, _list(schema.get("required")))) - {key for key, _ in _parts(fields)}:
        yield "required"


def _lost_of_array(schema: Mapping[str, Any], given: list[str]) -> Iterator[str]:
    followed = {"items", "minItems", "maxItems"}
    if "items" not in schema:
        count = len(_list(schema.get("prefixItems")))
        followed = {"prefixItems"}
        followed |= {"minItems"} if count and schema.get("minItems", 0) <= count else set()
        followed |= {"maxItems"} if count and schema.get("maxItems", count) >= count else set()
    yield from (name for name in given if name not in followed and schema[name] is not False)


def _lost_of_text(schema: Mapping[str, Any], given: list[str]) -> Iterator[str]:
    form, pattern = schema.get("format"), schema.get("pattern")
    if "pattern" in given:
        is_followed = isinstance(pattern, str) and is_followed_pattern(pattern)
        yield from (name for name in given if name != "pattern" or not is_followed)
    elif "format" in given:
        is_known = isinstance(form, str) and FORMATS.fullmatch(form) is not None
        yield from (name for name in given if name != "format" or not is_known)


def _lost_of_whole(schema: Mapping[str, Any], given: list[str]) -> Iterator[str]:
    for first, second in BOUNDS:
        if first in given and second in given:
            yield second
    yield from (name for name in given if name == "multipleOf" or not _is_whole(schema[name]))


def _is_whole(value: Any) -> bool:
    return type(value) is int and -(2**63) < value < 2**63


def is_followed_pattern(pattern: str) -> bool:
    """Whether a regular expression is anchored at both ends, and has nothing that grammars have no word for."""
    if len(pattern) < 2 or not (pattern[0] == "^" and pattern[-1] == "$") or not PATTERN.fullmatch(pattern[1:-1]):
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parts(value: Any) -> list[tuple[str, Any]]:
    return [(str(key), part) for key, part in value.items()] if isinstance(value, Mapping) else []
