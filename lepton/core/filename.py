"""Which names files of a workspace can have. Pure."""

from unicodedata import is_normalized

DRAFT = ".lepton-draft"
MOST_NAME_BYTES = 1024
MOST_PART_BYTES = 255
"""As long as file systems allow."""


def name_fault(name: str) -> str:
    """Why a workspace cannot keep a file of that name; empty: it can."""
    parts = name.split("/")
    if not name.isprintable():
        return "it has a character that cannot be shown"
    if any(part in ("", ".", "..") for part in parts):
        return "a part of it is empty, '.' or '..'"
    if parts[0] == DRAFT:
        return "files that are being written out are called so"
    if "\\" in name:
        return "it has a backslash"
    if len(name.encode()) > MOST_NAME_BYTES:
        return f"it has more than {MOST_NAME_BYTES} bytes"
    if any(len(part.encode()) > MOST_PART_BYTES for part in parts):
        return f"a part of it has more than {MOST_PART_BYTES} bytes"
    if not is_normalized("NFC", name):
        return "it is not in Unicode's normal form C, so that two names could look the same"
    return ""
