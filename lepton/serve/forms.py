"""What comes as named texts and files - a URL's query, a form - as values that a handler's annotations fit."""

import io
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Literal, NamedTuple, Self, get_args, get_origin
from urllib.parse import parse_qsl, unquote

import orjson

from lepton.core.errors import InvalidError, clip
from lepton.serve.annotations import alternatives, is_array, is_many, is_object
from lepton.serve.calls import Call
from lepton.serve.service import Upload

Pairs = list[tuple[str, str | Upload]]
URLENCODED = "application/x-www-form-urlencoded"
BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
NONE = type(None)
MOST_FIELDS = 10_000


def read_query(query: str) -> Pairs:
    """The fields of a URL's query in their order.

    Raises:
        InvalidError: it is no UTF-8, or too long.
    """
    try:
        return list(parse_qsl(query, True, errors="strict", max_num_fields=MOST_FIELDS))
    except UnicodeDecodeError as fault:
        raise InvalidError(f"The query is no UTF-8: {fault}", fix="Send UTF-8.") from None
    except ValueError:
        raise InvalidError(f"The query has more than {MOST_FIELDS} fields", fix="Send JSON.") from None


def read_name(text: str) -> str:
    """What a part of a path stands for.

    Raises:
        InvalidError: it is no UTF-8.
    """
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as fault:
        raise InvalidError(f"The path is no UTF-8: {fault}", fix="Send UTF-8.") from None


def read_form(call: Call) -> Pairs:
    """The fields of a form in their order: texts, and files as `Upload`; no file where none was chosen.

    Raises:
        InvalidError: it is none.
    """
    kind = next((value for name, value in call.head.headers if name == "content-type"), "") if call.head else ""
    try:
        if kind.partition(";")[0].strip().lower() == URLENCODED:
            return list(parse_qsl(call.body.decode(), True, errors="strict", max_num_fields=MOST_FIELDS))
        return _read_multipart(call.body, kind)
    except UnicodeDecodeError as fault:
        raise InvalidError(f"The form is no UTF-8: {fault}", fix="Send UTF-8.") from None
    except ValueError:
        raise InvalidError(f"The form has more than {MOST_FIELDS} fields", fix="Send JSON.") from None


def _read_multipart(body: bytes, kind: str) -> Pairs:
    from python_multipart import parse_form  # noqa: PLC0415  only where such a body comes

    found: Pairs = []

    def on_field(field: Any) -> None:
        if len(found) >= MOST_FIELDS:
            raise InvalidError(f"The form has more than {MOST_FIELDS} fields", fix="Send JSON.")
        found.append(((field.field_name or b"").decode(), (field.value or b"").decode()))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        name, content = (file.file_name or b"").decode(), file.file_object.read()
        if name or content:
            media = file.content_type or "application/octet-stream"
            found.append(((file.field_name or b"").decode(), Upload(content, name, media)))

    try:
        parse_form({"Content-Type": kind.encode("latin-1")}, io.BytesIO(body), on_field, on_file)
    except (UnicodeDecodeError, InvalidError):
        raise
    except Exception as fault:  # noqa: BLE001  whatever the parser dislikes
        raise InvalidError(f"The form cannot be read: {fault}", fix="Send multipart/form-data.") from None
    bounds = BOUNDARY.search(kind)
    if bounds is None or f"--{bounds[1] or bounds[2]}--".encode("latin-1") not in body:
        raise InvalidError("The form is cut short: its last boundary is missing", fix="Send all of it.")
    return found


class Field(NamedTuple):
    """How the texts of one name are read."""

    is_many: bool
    """A list, which each of them adds to."""
    kinds: tuple[Any, ...]
    """What each may be."""
    words: Mapping[str, Any]
    """Text -> the value that it stands for, of those that are no texts."""

    @classmethod
    def of(cls, kind: Any) -> Self:
        """By its annotation."""
        kinds = alternatives(kind)
        lists = [one for one in kinds if is_many(one)]
        if lists:
            kinds = tuple(inner for one in lists for item in get_args(one) or (Any,) for inner in alternatives(item))
        words = {str(value).lower() if isinstance(value, bool) else str(value): value for value in _values(kinds)}
        return cls(bool(lists), kinds, words)

    def read(self, value: str | Upload) -> Any:
        """One of them."""
        if isinstance(value, Upload):
            return self._read_file(value)
        kinds = self.kinds
        if str in kinds or Any in kinds:
            return value
        if not value and NONE in kinds:
            return None
        if bytes in kinds or Upload in kinds:
            return value.encode()
        if any(is_object(one) or is_array(one) for one in kinds):
            return _json(value, value)
        return self.words.get(value, value)

    def _read_file(self, file: Upload) -> Any:
        kinds = self.kinds
        if Upload in kinds or Any in kinds or any(is_array(one) for one in kinds):
            return file
        if bytes in kinds:
            return file.content
        return _json(file.content, file) if any(is_object(one) for one in kinds) else file


def _values(kinds: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            found += [value for value in get_args(kind) if not isinstance(value, str)]
        elif isinstance(kind, type) and issubclass(kind, Enum):
            found += [one.value for one in kind if not isinstance(one.value, str)]
    return found


def _json(text: str | bytes, otherwise: Any) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return otherwise


ANYTHING = Field(False, (Any,), {})


class Texts:
    """Reads texts by the annotations of what they are for.

    Args:
        kinds: name -> annotation; what has other names becomes a text, or a list of those that share a name.
    """

    def __init__(self, kinds: Mapping[str, Any]) -> None:
        self._fields = {name: Field.of(kind) for name, kind in kinds.items()}

    def gather(self, pairs: Iterable[tuple[str, str | Upload]]) -> dict[str, Any]:
        """Name -> value.

        Raises:
            InvalidError: several are for one value.
        """
        texts: dict[str, list[str | Upload]] = {}
        for name, value in pairs:
            texts.setdefault(name, []).append(value)
        return {name: self._value(name, self._fields.get(name), values) for name, values in texts.items()}

    def _value(self, name: str, field: Field | None, values: list[str | Upload]) -> Any:
        if field is None:
            return values[0] if len(values) == 1 else values
        if not field.is_many:
            return self._alone(name, field, values)
        if len(values) == 1 and isinstance(values[0], str) and values[0].startswith("[") and str not in field.kinds:
            return _json(values[0], values)
        return [field.read(value) for value in values]

    def _alone(self, name: str, field: Field, values: list[str | Upload]) -> Any:
        if len(values) == 1:
            return field.read(values[0])
        if not any(is_array(kind) for kind in field.kinds):
            raise InvalidError(f"{clip(name, 80)}: came {len(values)} times, and is one value", fix="Send it once.")
        return [_json(one, one) if isinstance(one, str) else one for one in values]
