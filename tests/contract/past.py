"""What a storage that keeps what was there before shows of its past: written in two halves, read as of between them."""

import pytest

from lepton.core.errors import NotFoundError, StorageRefusedError
from lepton.vault.driver import Driver, Head

LARGE = bytes(range(256)) * 4096 * 9
"""Of several blocks."""


def write_before(driver: Driver) -> Head:
    """Write what the past shall show; returned is the head of what is deleted later."""
    driver.put("a+b/ü 1", [b"first"])
    gone = driver.put("gone", [b"to be deleted"])
    driver.put("was gone", [b"deleted before"])
    driver.delete("was gone")
    driver.put("large", [LARGE])
    return gone


def write_after(driver: Driver) -> None:
    """Write what it shall not show."""
    driver.put("a+b/ü 1", [b"second and longer"])
    driver.delete("gone")
    driver.put("was gone", [b"again"])
    driver.put("large", [b"garbage"])
    driver.put("new", [b"of later"])


def check_past(past: Driver, gone: Head) -> None:
    """See that it shows what was there between the two, and that nothing can be written."""
    heads = list(past.list())
    assert [(head.key, head.size_bytes) for head in heads] == [("a+b/ü 1", 5), ("gone", 13), ("large", len(LARGE))]
    assert [head.key for head in past.list("g")] == ["gone"]
    assert b"".join(past.get("a+b/ü 1")) == b"first" == b"".join(past.get("a+b/ü 1", start=0, stop=99))
    assert b"".join(past.get("large")) == LARGE
    assert b"".join(past.get("large", start=9_000_001, stop=9_000_011)) == LARGE[9_000_001:9_000_011]
    assert past.head("gone") == heads[1] == gone
    for key in ("was gone", "new", "never"):
        with pytest.raises(NotFoundError):
            past.head(key)
        with pytest.raises(NotFoundError):
            past.get(key)
    for write in (
        lambda: past.put("a", [b"x"]),
        lambda: past.delete("gone"),
        lambda: past.create_if_absent("a", b"x"),
        lambda: past.replace_if_match("gone", b"x", etag="e"),
    ):
        with pytest.raises(StorageRefusedError, match="the past"):
            write()
