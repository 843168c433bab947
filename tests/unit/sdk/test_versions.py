"""A version comes as the class of its kind."""

import pytest

from lepton import Dataset, Model, Version
from lepton.sdk.artifacts import AsyncVersion
from lepton.sdk.find import Address
from lepton.sdk.http import Http
from lepton.sdk.portal import Portal

FIELDS = {
    "id": "v",
    "name": "n",
    "number": 1,
    "digest": "d" * 64,
    "size_bytes": 1,
    "meta": {},
    "parents": {},
    "job": "",
}


@pytest.mark.parametrize(("kind", "shown"), [("dataset", Dataset), ("model", Model), ("report", Version)])
def test_a_version_comes_as_the_class_of_its_kind(kind: str, shown: type[Version]) -> None:
    inner = AsyncVersion(Http(Address("http://x", "t")), {**FIELDS, "kind": kind})
    found = Version(inner, Portal())
    assert type(found) is shown
    assert (found.kind, found.ref) == (kind, "n@1")
