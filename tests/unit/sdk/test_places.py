"""Addresses of files: which names are refused before the server is asked."""

import pytest

from lepton.core.errors import InvalidError
from lepton.sdk.place import url_of


@pytest.mark.parametrize("name", ["", "a//b", "../a", "nl\nst", "a/\x00", "bell\x07"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="cannot be a name"):
        url_of(name)


def test_a_good_name_is_quoted() -> None:
    assert url_of("a b/ü#?.txt") == "/vault/files/a%20b/%C3%BC%23%3F.txt"
