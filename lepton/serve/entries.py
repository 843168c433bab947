"""What an entry names: `file.py[:Class]`, or `kind:what` for whatever has a program of its own. Pure.

A further kind of model is a further line in `PROGRAMS`.
"""

from lepton.core.errors import InvalidError

PROGRAMS = {
    "service": "lepton.serve.hosted:open_program",
    "onnx": "lepton.serve.onnx:open_onnx",
    "gguf": "lepton.serve.llm.program:open_gguf",
    "photon": "lepton.serve.photon.program:open_program",
}
"""Kind -> `module:function`, called with the folder of the code and what the entry names in it."""


def split_entry(entry: str) -> tuple[str, str]:
    """Kind of an entry, and what of that kind.

    Raises:
        InvalidError: it names nothing that can be served.
    """
    kind, colon, what = entry.partition(":")
    if colon and kind in PROGRAMS:
        return kind, what
    file, _, name = entry.partition(":")
    if not file.endswith(".py") or (name and not name.isidentifier()):
        kinds = ", ".join(sorted(PROGRAMS.keys() - {"service"}))
        raise InvalidError(
            f"{entry[:200]!r} names nothing that can be served",
            fix="Give file.py or file.py:Class" + (f", or KIND:WHAT with one of {kinds}." if kinds else "."),
        )
    return "service", entry


def file_of(entry: str) -> str:
    """The file or folder that an entry names, without its kind and class."""
    kind, what = split_entry(entry)
    return what if kind not in ("service", "photon") else what.partition(":")[0]
