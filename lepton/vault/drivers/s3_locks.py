"""Locks of single objects in a bucket of S3: how long none may delete what lies there."""

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import md5, sha256
from urllib.parse import quote

import httpx

from lepton.core.errors import StorageRefusedError
from lepton.vault.drivers.files import missing, unreachable
from lepton.vault.drivers.http_calls import Calls
from lepton.vault.drivers.patience import Patience, retried
from lepton.vault.drivers.s3_rules import Bucket, sign

BODY = '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>COMPLIANCE</Mode>{}</Retention>'
UNTIL = "<RetainUntilDate>%Y-%m-%dT%H:%M:%SZ</RetainUntilDate>"
QUERY = {"retention": ""}
CODE = re.compile(rb"<Code>(\w+)</Code>")


class Locks:
    """Those of a bucket. From many threads at once."""

    def __init__(self, bucket: Bucket, patience: Patience) -> None:
        self._bucket = bucket
        self._patience = patience
        self._calls = Calls(bucket.endpoint, patience, authority=bucket.authority)

    def extend(self, path: str, until: datetime) -> None:
        """Lock the newest version of an object until then; a lock is never shortened.

        Raises:
            NotFoundError: there is no such object.
            StorageRefusedError: the key has no right to.
            StorageUnreachableError: the bucket does not answer.
        """
        body = BODY.format(until.astimezone(UTC).strftime(UNTIL)).encode()
        url = f"{self._bucket.endpoint.rstrip('/')}/{quote(self._bucket.name)}/{quote(path)}"
        answer = retried(lambda: self._put(url, body), self._patience)
        if answer.status_code == 404:
            raise missing(path)
        if answer.status_code != 200:
            code = CODE.search(answer.content)
            why = code[1].decode() if code else f"HTTP {answer.status_code}"
            raise StorageRefusedError(
                f"The lock of {path} is not extended: {why}", fix="Allow the key s3:PutObjectRetention."
            )

    def close(self) -> None:
        """Give back connections."""
        self._calls.close()

    def _put(self, url: str, body: bytes) -> httpx.Response:
        answer = self._calls.ask("PUT", f"{url}?retention=", headers=self._headers(url, body), body=body)
        if answer.status_code >= 500:
            raise unreachable(self._bucket.endpoint, f"HTTP {answer.status_code}")
        return answer

    def _headers(self, url: str, body: bytes) -> Mapping[str, str]:
        digest = sha256(body).hexdigest()
        sums = {"content-md5": b64encode(md5(body, usedforsecurity=False).digest()).decode()}
        return sign(self._bucket, "PUT", url, QUERY, now=datetime.now(UTC), digest=digest) | sums
