"""All versions of all keys below a prefix of a bucket, and when each was written.

A bucket says when a version was last changed, and some take a longer lock for a change (SeaweedFS). So two more things
are believed that nobody who writes there can choose: where each version's id is a time with a random end, as those of
SeaweedFS are, it was written then; elsewhere no version is younger than one that came after it. What a writer may say
of itself (metadata) is not: who hides a pack would say that his is the older one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from lepton.core.clock import EPOCH, read_moment
from lepton.core.errors import StorageRefusedError
from lepton.vault.driver import Version
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.s3_rules import Bucket, ask, text_of

TIMED = re.compile(r"[0-9a-f]{32}")
FIRST = datetime(2015, 1, 1, tzinfo=UTC)
"""No id is older that is a time."""
SLACK = timedelta(days=1)
"""A version is listed with a time in whole seconds, and may be that of another clock."""


def versions(bucket: Bucket, prefix: str, patience: Patience) -> Iterator[Version]:
    """All below the prefix, 1,000 a request: by key, of each the newest first.

    Raises:
        StorageRefusedError: the key has no right to; or there is no such bucket.
    """
    place = dict[str, str]()
    while True:
        try:
            page = ask(bucket, "versions", patience, {"prefix": prefix, **place})
        except StorageRefusedError as fault:
            raise StorageRefusedError(fault.message, fix="Allow the key s3:ListBucketVersions.") from fault
        if page is None:
            raise StorageRefusedError(f"s3://{bucket.name}/{prefix}: there is no such bucket", fix="Check the address.")
        yield from (_read(prefix, item) for item in page if _tag(item) in ("Version", "DeleteMarker"))
        if text_of(page, "IsTruncated") != "true":
            return
        place = {"key-marker": text_of(page, "NextKeyMarker")}
        if marker := text_of(page, "NextVersionIdMarker"):
            place["version-id-marker"] = marker


def dated(found: Sequence[Version]) -> Iterator[Version]:
    """The same, each with the time at which it was written, as well as that can be told."""
    is_told, key, at = are_timed(found), "", EPOCH
    for version in found:
        if is_told and (told := written(version.id)):
            at = min(version.at, told.replace(microsecond=0))
        else:
            at = min(version.at, at) if version.key == key else version.at
        key = version.key
        yield version._replace(at=at)


def are_timed(found: Iterable[Version]) -> bool:
    """Whether ids are times: all of them, as random ones would not be."""
    told = [(version.at, written(version.id)) for version in found if version.id != "null"]
    return bool(told) and all(at is not None and FIRST <= at <= changed + SLACK for changed, at in told)


def written(id: str) -> datetime | None:
    """The time that an id of SeaweedFS begins with: nanoseconds since 1970, in newer ones counted down; None: none."""
    if not TIMED.fullmatch(id):
        return None
    count = int(id[:16], 16)
    nanos = (1 << 63) - 1 - count if count >> 62 else count
    return EPOCH + timedelta(microseconds=nanos // 1000) if nanos >= 0 else None


def _read(prefix: str, item: ElementTree.Element) -> Version:
    is_mark = _tag(item) == "DeleteMarker"
    return Version(
        key=text_of(item, "Key").removeprefix(prefix),
        id=text_of(item, "VersionId"),
        at=read_moment(text_of(item, "LastModified")),
        size_bytes=0 if is_mark else int(text_of(item, "Size")),
        etag="" if is_mark else text_of(item, "ETag"),
        is_newest=text_of(item, "IsLatest") == "true",
    )


def _tag(item: ElementTree.Element) -> str:
    return item.tag.rpartition("}")[2]
