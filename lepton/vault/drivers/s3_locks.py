"""Locks of single objects in a bucket of S3: how long none may delete what lies there."""

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import md5, sha256
from urllib.parse import quote

import httpx

from lepton.core.clock import EPOCH, read_moment
from lepton.core.errors import StorageRefusedError
from lepton.vault.drivers.files import missing, unreachable
from lepton.vault.drivers.http_calls import Calls
from lepton.vault.drivers.patience import Patience, retried
from lepton.vault.drivers.s3_rules import Bucket, joined, sign

BODY = '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>COMPLIANCE</Mode>{}</Retention>'
UNTIL = "<RetainUntilDate>%Y-%m-%dT%H:%M:%SZ</RetainUntilDate>"
RIGHTS = "Allow the key s3:PutObjectRetention and s3:GetObjectRetention."
CODE = re.compile(rb"<Code>(\w+)</Code>")
MODE, END = re.compile(rb"<Mode>(\w+)</Mode>"), re.compile(rb"<RetainUntilDate>([\w:.+-]+)</RetainUntilDate>")


class Locks:
    """Those of a bucket. From many threads at once."""

    def __init__(self, bucket: Bucket, patience: Patience) -> None:
        self._bucket = bucket
        self._patience = patience
        self._calls = Calls(bucket.endpoint, patience, authority=bucket.authority)

    def extend(self, path: str, until: datetime, version: str = "") -> None:
        """Lock a version of an object until then; a lock that is longer stays, as none is ever shortened.

        Args:
            version: its id; empty: the newest.

        Raises:
            NotFoundError: there is no such object.
            StorageRefusedError: the key has no right to; or its lock is of a mode that can be lifted.
            StorageUnreachableError: the bucket does not answer.
        """
        body = BODY.format(until.astimezone(UTC).strftime(UNTIL)).encode()
        url = f"{self._bucket.endpoint.rstrip('/')}/{quote(self._bucket.name)}/{quote(path)}"
        query = {"retention": "", **({"versionId": version} if version else {})}
        answer = retried(lambda: self._asked("PUT", url, query, body), self._patience)
        if answer.status_code == 404:
            raise missing(path)
        if answer.status_code == 200:
            return
        mode, longest = self._lock(url, query)
        if mode == "COMPLIANCE" and longest >= until.replace(microsecond=0):
            return
        code = CODE.search(answer.content)
        why = code[1].decode() if code else f"HTTP {answer.status_code}"
        fix = RIGHTS
        if mode and mode != "COMPLIANCE":
            why = f"it is in mode {mode} until {longest:%Y-%m-%d %H:%M} UTC, and whoever has the right can lift that"
            fix = "Lock it in mode COMPLIANCE, with a key that may bypass the other; or wait until that lock ends."
        raise StorageRefusedError(f"The lock of {path} is not extended: {why}", fix=fix)

    def close(self) -> None:
        """Give back connections."""
        self._calls.close()

    def _lock(self, url: str, query: Mapping[str, str]) -> tuple[str, datetime]:
        """Mode and end of the lock that an object has; no mode: it has none, or that is not told."""
        answer = retried(lambda: self._asked("GET", url, query, b""), self._patience)
        mode, until = MODE.search(answer.content), END.search(answer.content)
        if answer.status_code != 200 or not mode or not until:
            return "", EPOCH
        return mode[1].decode(), read_moment(until[1].decode())

    def _asked(self, method: str, url: str, query: Mapping[str, str], body: bytes) -> httpx.Response:
        digest, sums = sha256(body).hexdigest(), b64encode(md5(body, usedforsecurity=False).digest()).decode()
        headers = sign(self._bucket, method, url, query, now=datetime.now(UTC), digest=digest)
        headers |= {"content-md5": sums} if body else {}
        answer = self._calls.ask(method, f"{url}?{joined(query)}", headers=headers, body=body or None)
        if answer.status_code >= 500:
            raise unreachable(self._bucket.endpoint, f"HTTP {answer.status_code}")
        return answer
