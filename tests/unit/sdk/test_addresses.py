"""An endpoint is found by where it answers."""

import pytest

from lepton.sdk.endpoints import at_address

ADDRESSES = {
    "alone": "http://127.0.0.1:41001",
    "front": "http://127.0.0.1:41002",
    "shared": "http://127.0.0.1:41002/shared",
    "safe": "https://models.example:443",
    "starting": "",
}


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("127.0.0.1:41001", "alone"),
        ("http://127.0.0.1:41001", "alone"),
        ("localhost:41001", "alone"),
        ("http://127.0.0.1:41001/greet", "alone"),
        ("127.0.0.1:41002/", "front"),
        ("127.0.0.1:41002/shared", "shared"),
        ("http://127.0.0.1:41002/shared/greet", "shared"),
        ("127.0.0.1:41002/shared2", "front"),
        ("https://models.example:443/docs", "safe"),
        ("127.0.0.1:4100", ""),
        ("127.0.0.1:1", ""),
        (":", ""),
    ],
)
def test_an_address_is_that_of_the_endpoint_that_answers_there(wanted: str, name: str) -> None:
    assert at_address(wanted, ADDRESSES) == name
