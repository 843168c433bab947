"""Read a stage's spec from JSON, strictly: an unknown field or a wrong type is a user's mistake, told in plain words.

A spec is a frozen dataclass whose fields are text, whole numbers, numbers, booleans or tuples of text.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self, TypeVar, get_type_hints

from lepton.core.errors import InvalidError

Wish = TypeVar("Wish")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """Base of the stages' specs: to JSON and back."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal spec."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The spec that `to_json` wrote.

        Raises:
            InvalidError: an unknown field, or a value that cannot be.
        """
        return read_wish(cls, fields)


def read_wish(kind: type[Wish], values: Mapping[str, Any]) -> Wish:
    """Return the spec of class `kind` that `values` describes; a field that is left out takes its default.

    Raises:
        InvalidError: a field is unknown, missing or of another type, or the spec itself refuses its value.
    """
    hints = get_type_hints(kind)
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}  # type: ignore[arg-type]
    unknown, missing = sorted(set(values) - set(hints)), sorted(needed - set(values))
    if unknown:
        raise InvalidError(f"{kind.__name__} has no field {unknown[0]!r}", fix=f"It has {', '.join(hints)}.")
    if missing:
        raise InvalidError(f"{kind.__name__} needs the field {missing[0]!r}", fix="Give it.")
    return kind(**{name: _value(name, hints[name], value) for name, value in values.items()})


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside `low` .. `high`.

    Raises:
        InvalidError: it is.
    """
    if not low <= value <= high:
        raise InvalidError(f"{name} is {value}", fix=f"Give {low} to {high}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


TYPES: Mapping[object, tuple[str, Callable[[object], bool], Callable[[Any], object]]] = {
    str: ("text", lambda value: isinstance(value, str), str),
    bool: ("true or false", lambda value: isinstance(value, bool), bool),
    int: ("a whole number", _is_whole, int),
    float: ("a number", lambda value: isinstance(value, float) or _is_whole(value), float),
    tuple[str, ...]: ("a list of texts", _is_texts, tuple),
}


def _value(name: str, hint: object, value: object) -> object:
    """The value in the type its field has."""
    what, is_right, convert = TYPES[hint]
    if not is_right(value):
        raise InvalidError(f"{name} is {str(value)[:80]!r}", fix=f"Give {what}.")
    return convert(value)
