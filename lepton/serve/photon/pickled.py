"""Python objects in JSON, for programs whose two ends trust each other: reading one runs whatever it says."""

import base64
import pickle
import zlib
from typing import Any

KIND = "lepton_pickled"
LeptonPickled = dict[str, Any]


def is_pickled(obj: Any) -> bool:
    """Whether it is what `lepton_pickle` makes."""
    return isinstance(obj, dict) and obj.get("type") == KIND


def lepton_pickle(obj: Any, compression: int = -1) -> LeptonPickled:
    """An object as JSON.

    Args:
        compression: 0 (none) to 9 (most); -1: what zlib thinks best.

    Raises:
        ValueError: it cannot be pickled, or there is no such level.
    """
    if not -1 <= compression <= 9:
        raise ValueError(f"compression is -1 to 9, not {compression}")
    try:
        content = zlib.compress(pickle.dumps(obj), level=compression)
    except Exception as fault:
        raise ValueError(f"The object cannot be pickled: {fault}") from fault
    return {"type": KIND, "compression": compression, "content": base64.b64encode(content).decode()}


def lepton_unpickle(obj: LeptonPickled) -> Any:
    """The object again. Runs code that its maker chose: only for callers that you trust.

    Raises:
        ValueError: it is none.
    """
    try:
        return pickle.loads(zlib.decompress(base64.b64decode(obj["content"])))
    except Exception as fault:
        raise ValueError(f"The content cannot be unpickled: {fault}") from fault
