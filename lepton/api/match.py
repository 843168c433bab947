"""Entity tags in requests (RFC 9110, section 13.1): only if it is still what I read, only if it is not what I have."""

import re
from typing import Annotated

from fastapi import Header

from lepton.core.errors import StaleError, clip
from lepton.core.resource import Resource

TAG = r'(W/)?"[!#-~\u0080-\u00ff]*"'
TAGS = rf"^[ \t]*(\*|(,[ \t]*)*{TAG}([ \t]*,[ \t]*({TAG})?)*)[ \t]*$"
ONE = re.compile(TAG)
IfMatch = Annotated[
    str | None,
    Header(max_length=400, pattern=TAGS, description="ETags, one of which must be the present one, else 412; or *"),
]
IfNoneMatch = Annotated[
    str | None, Header(max_length=4000, pattern=TAGS, description="ETags of copies that the client has; or *")
]


def etag(resource: Resource) -> str:
    """The entity tag of a resource: of its wish and state, not of what a loop only notes in its status."""
    return f'"{resource.revision}"'


def check_match(resource: Resource | None, if_match: str | None) -> None:
    """Refuse a change of something that has changed since it was read. A weak tag matches nothing here.

    Args:
        resource: None: there is none, so that no tag matches, nor `*`.
    Raises:
        StaleError: its revision is none of those named.
    """
    if resource is None:
        if if_match is not None:
            raise StaleError("There is nothing yet that could match", fix="Leave out If-Match to make it.")
        return
    if if_match is not None and if_match.strip() != "*" and etag(resource) not in _tags(if_match):
        raise StaleError(
            f"{resource.kind} '{resource.name}' is at {etag(resource)}, not {clip(if_match, 80)}",
            fix="Read it again, then repeat the change with the new ETag.",
        )


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether the client has that already; weak tags count."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag in {found.removeprefix("W/") for found in _tags(if_none_match)}


def tags_of(text: str | None) -> frozenset[str]:
    """The strong tags of a header, without their quotes."""
    return frozenset(tag[1:-1] for tag in _tags(text or "") if not tag.startswith("W/"))


def _tags(text: str) -> set[str]:
    return {found[0] for found in ONE.finditer(text)}
