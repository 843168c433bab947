"""What an entry names: `file.py[:Class]`, or `kind:path[?option=value&...]`. Pure.

A further kind of model is a further line in `PROGRAMS`.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from lepton.core.errors import InvalidError, clip

VARIABLES = "lepton.serve.models.variables"
"""Imported before all that reads its variables."""


class Kind(NamedTuple):
    """How one kind of thing is served."""

    opener: str
    """`module:function`, called with the folder of the code and what the entry names in it."""
    extra: str = "serve"
    """Of the distribution, that brings what it needs."""
    options: tuple[str, ...] | None = ()
    """What may follow a `?`; None: the kind itself says."""
    preload: tuple[str, ...] = ()
    """Further modules that take long to import: a warm zygote has them ready for the next replica."""


PROGRAMS = {
    "service": Kind("lepton.serve.hosted:open_program"),
    "photon": Kind("lepton.serve.photon.program:open_program"),
    "gguf": Kind("lepton.serve.llm.program:open_gguf", "llm"),
    "onnx": Kind("lepton.serve.models.onnx:open_onnx"),
    "torchscript": Kind("lepton.serve.models.torchscript:open_torchscript", "serve,train", None, ("torch",)),
    "safetensors": Kind("lepton.serve.models.weights:open_weights", "serve,train", None, ("torch",)),
    "skops": Kind("lepton.serve.models.skops:open_skops", "sklearn", ("trust",), ("skops.io",)),
    "keras": Kind("lepton.serve.models.keras:open_keras", "keras", (), (VARIABLES, "keras")),
    "hf": Kind("lepton.serve.models.huggingface:open_pipeline", "hf", ("task",), (VARIABLES, "transformers.pipelines")),
}
ENDINGS = {
    **{kind: kind for kind in ("gguf", "onnx", "safetensors", "skops", "keras", "photon")},
    **dict.fromkeys(("pt", "pth"), "torchscript"),
}
"""How a file ends -> the kind that it most probably is."""
CODE = ("service", "photon")
"""Kinds whose files are code, and stand beside others that it imports."""


def split_entry(entry: str) -> tuple[str, str]:
    """Kind of an entry, and what of that kind.

    Raises:
        InvalidError: it names nothing that can be served.
    """
    kind, colon, what = entry.partition(":")
    if colon and kind in PROGRAMS:
        if kind not in CODE:
            path, options = read_what(what)
            _check_options(kind, options)
            what = what if path else ""
        if not what:
            raise InvalidError(f"{entry[:200]!r} names no file", fix=f"Write {kind}:FILE.")
        return kind, what
    file, _, name = entry.partition(":")
    if not file.endswith(".py") or (name and not name.isidentifier()):
        kinds = ", ".join(sorted(PROGRAMS.keys() - {"service"}))
        kind = ENDINGS.get(entry.partition("?")[0].rpartition(".")[2], "")
        raise InvalidError(
            f"{entry[:200]!r} names nothing that can be served",
            fix=f"Write {kind}:{entry[:200]}"
            if kind
            else f"Give file.py or file.py:Class, or KIND:WHAT with one of {kinds}.",
        )
    return "service", entry


def read_what(what: str) -> tuple[str, dict[str, str]]:
    """Path and options of `path?option=value&...`.

    Raises:
        InvalidError: the options are none.
    """
    path, mark, text = what.partition("?")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True) if mark else []
    except ValueError:
        pairs = []
    options = dict(pairs)
    if (mark and not pairs) or len(options) != len(pairs):
        raise InvalidError(f"{clip(text)!r} are no options", fix="Write path?name=value&name=value, each name once.")
    return path, options


def _check_options(kind: str, options: Mapping[str, str]) -> None:
    known = PROGRAMS[kind].options
    unknown = [] if known is None else [name for name in options if name not in known]
    if unknown:
        raise InvalidError(
            f"{kind} has no option {clip(unknown[0], 80)!r}",
            fix=f"It has {', '.join(known)}." if known else "Leave out what follows the `?`.",
        )


def preload_of(entry: str) -> tuple[str, ...]:
    """What a warm zygote shall have imported for replicas of an entry; of none nothing."""
    return PROGRAMS[split_entry(entry)[0]].preload if entry else ()


def file_of(entry: str) -> str:
    """The file or folder that an entry names, without its kind, class and options."""
    kind, what = split_entry(entry)
    return what.partition(":")[0] if kind in CODE else what.partition("?")[0]


def is_pickle(entry: str) -> bool:
    """Whether to open it is to run whatever its maker has put in."""
    return entry.startswith("photon:") and file_of(entry).endswith(".photon")


def rename(entry: str, name: str) -> str:
    """The entry with another file or folder."""
    file = file_of(entry)
    before, _, after = entry.partition(":") if entry.partition(":")[0] in PROGRAMS else ("", "", entry)
    return (f"{before}:" if before else "") + name + after[len(file) :]
