"""Of which keywords of a JSON schema llama.cpp would take no notice."""

from typing import Any

import pytest

from lepton.serve.llm.schema import is_followed_pattern, unfollowed

WHOLE, TEXT = {"type": "integer"}, {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "title": "n", "default": 3},
        {"type": ["integer", "null"], "minimum": 1},
        {"type": "object", "properties": {"a": WHOLE}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"minimum": {"type": "number"}, "not": TEXT}},
        {"$defs": {"A": {"enum": [1, 2]}}, "$ref": "#/$defs/A", "description": "x"},
        {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 3, "uniqueItems": False},
        {"type": "array", "prefixItems": [WHOLE, TEXT], "minItems": 2, "maxItems": 2},
        {"anyOf": [WHOLE, {"type": "string", "minLength": 2}], "default": None},
        {"allOf": [{"type": "object", "properties": {"a": WHOLE}}, {"properties": {"b": TEXT}, "required": ["b"]}]},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "enum": ["a"]},
        {"type": "string", "pattern": "^[A-Z]{2,3}-(a|b)+$"},
    ],
)
def test_what_is_followed(schema: Any) -> None:
    assert list(unfollowed(schema)) == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "number", "minimum": 3}, "#/minimum"),
        ({"type": "integer", "multipleOf": 7}, "#/multipleOf"),
        ({"type": "integer", "minimum": 1.5}, "#/minimum"),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": 2}, "#/exclusiveMinimum"),
        ({"minimum": 3}, "#/minimum"),
        (
            {"type": "object", "properties": {"a": {"type": "array", "items": {"not": TEXT}}}},
            "#/properties/a/items/not",
        ),
        ({"type": "array", "items": WHOLE, "uniqueItems": True}, "#/uniqueItems"),
        ({"type": "array", "minItems": 2}, "#/minItems"),
        ({"type": "array", "prefixItems": [WHOLE], "minItems": 2}, "#/minItems"),
        ({"type": "array", "items": WHOLE, "prefixItems": [WHOLE]}, "#/prefixItems"),
        ({"type": "string", "format": "email"}, "#/format"),
        ({"type": "string", "format": "date", "maxLength": 3}, "#/maxLength"),
        ({"type": "string", "pattern": "[0-9]{3}"}, "#/pattern"),
        ({"type": "string", "pattern": "^[a-z]{3}$", "minLength": 5}, "#/minLength"),
        ({"type": "object", "minProperties": 2}, "#/minProperties"),
        ({"type": "object", "required": ["a"]}, "#/required"),
        ({"type": "object", "patternProperties": {"^a": WHOLE}}, "#/patternProperties"),
        ({"type": "object", "properties": {"a": WHOLE}, "anyOf": [WHOLE]}, "#/properties"),
        ({"allOf": [{"minimum": 3}]}, "#/allOf/0/minimum"),
        ({"$defs": {"A": {"if": {}}}, "$ref": "#/$defs/A"}, "#/$defs/A/if"),
        ({"enum": [1, 2], "minimum": 2}, "#/minimum"),
        ({"oneOf": [WHOLE], "anyOf": [WHOLE]}, "#/anyOf"),
        ({"additionalProperties": {"type": "number", "maximum": 1}}, "#/additionalProperties/maximum"),
    ],
)
def test_what_is_not_is_named(schema: Any, path: str) -> None:
    assert next(unfollowed(schema), "") == path


@pytest.mark.parametrize("pattern", ["^a\\.b$", "^a\\-b$", "^[a\\]]{3}$", "^(?:ab){2}$", "^a{2,3}b?$", "^[^a]+$", "^$"])
def test_patterns_that_are_followed(pattern: str) -> None:
    assert is_followed_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        "^a",
        "a$",
        "^\\d$",
        "^[\\d]$",
        "^a\\/b$",
        "^(?=a)b$",
        "^[0-9$",
        "^a+?b$",
        "^a^b$",
        '^a"b$',
        "^\\p{L}$",
        "^(a$",
    ],
)
def test_patterns_that_are_not(pattern: str) -> None:
    assert not is_followed_pattern(pattern)
