"""Packs and manifests of a place that keeps versions, over which somebody has written, or that he has deleted.

Each is written once: a version or a mark that came later hides what was sent, unless it is the same (a repair's).
"""

from datetime import datetime
from itertools import groupby

from lepton.vault.backup.locks import Extends, is_written_once
from lepton.vault.driver import Version
from lepton.vault.drivers.s3_versions import dated


def suspects(driver: Extends) -> dict[str, datetime]:
    """Keys whose newest version is perhaps not what was written first -> when the one after the first came.

    Raises:
        StorageRefusedError: the key has no right to list versions.
    """
    found = list[Version]()
    for key, group in groupby(driver.versions(), lambda version: version.key):
        if is_written_once(key) and not _is_as_first(its := list(group)):
            found += its
    late = dict[str, list[datetime]]()
    for version in dated(found):
        late.setdefault(version.key, []).append(version.at)
    return {key: times[-2:][0] for key, times in late.items()}


def _is_as_first(versions: list[Version]) -> bool:
    newest = next((version for version in versions if version.is_newest), None)
    return newest is not None and bool(newest.etag) and newest.etag == versions[-1].etag
