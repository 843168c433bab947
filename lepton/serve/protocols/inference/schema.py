"""The messages of gRPC's services as classes, made from the `.proto` files here when the first of them is wanted.

They live in a descriptor pool of their own, so a client library that brings the same names can be in the same process.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS: Mapping[str, int] = {
    "bool": FIELD.TYPE_BOOL,
    "int32": FIELD.TYPE_INT32,
    "int64": FIELD.TYPE_INT64,
    "uint32": FIELD.TYPE_UINT32,
    "uint64": FIELD.TYPE_UINT64,
    "float": FIELD.TYPE_FLOAT,
    "double": FIELD.TYPE_DOUBLE,
    "string": FIELD.TYPE_STRING,
    "bytes": FIELD.TYPE_BYTES,
}
TOKEN = re.compile(r"//[^\n]*|[A-Za-z_][\w.]*|\d+|\"[^\"]*\"|[{}=;<>,()]")


INFERENCE, HEALTH, REFLECTION = (
    "lepton/inference.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
)
ALPHA = REFLECTION.replace("v1", "v1alpha")


@cache
def messages() -> Mapping[str, Any]:
    """Name of a message of the protocol or of reflection -> its class."""
    pool, _ = pool_of_all()
    found = [
        one for name in (INFERENCE, REFLECTION) for one in pool.FindFileByName(name).message_types_by_name.values()
    ]
    return {one.name: message_factory.GetMessageClass(one) for one in found}


@cache
def pool_of_all() -> tuple[descriptor_pool.DescriptorPool, Sequence[str]]:
    """What all files say, and their names."""
    pool = descriptor_pool.DescriptorPool()
    texts = {name: text_of(name) for name in (INFERENCE, HEALTH, REFLECTION)}
    texts[ALPHA] = texts[REFLECTION].replace("grpc.reflection.v1", "grpc.reflection.v1alpha")
    for name, text in texts.items():
        pool.Add(read_proto(name, text))  # type: ignore[no-untyped-call, unused-ignore]
    return pool, list(texts)


def text_of(name: str) -> str:
    """The text of a file, by the name that clients know it by."""
    return resources.files(__package__).joinpath(name.rpartition("/")[2]).read_text()


def read_proto(name: str, text: str) -> Any:
    """The file descriptor of such text as ours: services, messages, enums, maps and oneofs.

    Raises:
        ValueError: something else stands in it.
    """
    file = descriptor_pb2.FileDescriptorProto(name=name, syntax="proto3")
    tokens = iter([token for token in TOKEN.findall(text) if not token.startswith("//")])
    for word in tokens:
        if word == "message":
            _message(file.message_type.add(name=next(tokens)), file.package, tokens)
        elif word == "enum":
            _enum(file.enum_type.add(name=next(tokens)), tokens)
        elif word == "service":
            _service(file.service.add(name=next(tokens)), tokens)
        elif word in ("syntax", "package"):
            told = list(iter(tokens.__next__, ";"))
            file.package = told[-1] if word == "package" else file.package
        else:
            raise ValueError(f"{word!r} is not read here")
    return file


def _service(found: Any, tokens: Iterator[str]) -> None:
    """`rpc Name([stream] In) returns ([stream] Out) {}`, any number of them."""
    next(tokens)
    for _ in iter(tokens.__next__, "}"):
        method = found.method.add(name=next(tokens))
        method.client_streaming, method.input_type = _message_name(tokens)
        next(tokens)
        method.server_streaming, method.output_type = _message_name(tokens)
        for _ in "{}":
            next(tokens)


def _message_name(tokens: Iterator[str]) -> tuple[bool, str]:
    """Of `([stream] Name)`: whether it is a stream, and the name."""
    *words, name = list(iter(tokens.__next__, ")"))[1:]
    return bool(words), name


def _enum(found: Any, tokens: Iterator[str]) -> None:
    next(tokens)
    for word in iter(tokens.__next__, "}"):
        next(tokens)
        found.value.add(name=word, number=int(next(tokens)))
        next(tokens)


def _message(found: Any, scope: str, tokens: Iterator[str]) -> None:
    next(tokens)
    inside = f"{scope}.{found.name}"
    for word in iter(tokens.__next__, "}"):
        if word == "enum":
            _enum(found.enum_type.add(name=next(tokens)), tokens)
        elif word == "message":
            _message(found.nested_type.add(name=next(tokens)), inside, tokens)
        elif word == "oneof":
            found.oneof_decl.add(name=next(tokens))
            next(tokens)
            for kind in iter(tokens.__next__, "}"):
                _field(found.field.add(oneof_index=len(found.oneof_decl) - 1), kind, tokens)
        elif word == "map":
            _map(found, inside, tokens)
        else:
            _field(found.field.add(), word, tokens)


def _map(found: Any, inside: str, tokens: Iterator[str]) -> None:
    """`map<K, V> name = n;` is a list of entries, each a message of its own."""
    _, key, _, value, _, name = (next(tokens) for _ in range(6))
    entry = found.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _typed(entry.field.add(name="key", number=1, label=FIELD.LABEL_OPTIONAL), key)
    _typed(entry.field.add(name="value", number=2, label=FIELD.LABEL_OPTIONAL), value)
    next(tokens)
    field = found.field.add(name=name, number=int(next(tokens)), label=FIELD.LABEL_REPEATED)
    _typed(field, f".{inside}.{entry.name}")
    next(tokens)


def _field(field: Any, kind: str, tokens: Iterator[str]) -> None:
    """`[repeated] kind name = n;`."""
    field.label = FIELD.LABEL_REPEATED if kind == "repeated" else FIELD.LABEL_OPTIONAL
    _typed(field, next(tokens) if kind == "repeated" else kind)
    field.name = next(tokens)
    next(tokens)
    field.number = int(next(tokens))
    next(tokens)


def _typed(field: Any, kind: str) -> None:
    if kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        field.type_name = kind
