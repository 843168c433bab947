"""What a bucket of S3 does with old versions: the two questions that decide whether a writer can only append."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import httpx

from lepton.core.errors import StorageRefusedError
from lepton.vault.driver import AppendOnly
from lepton.vault.drivers.files import unreachable
from lepton.vault.drivers.http_calls import Calls
from lepton.vault.drivers.patience import Patience, retried

EMPTY = sha256(b"").hexdigest()
UNITS = (("Days", 86_400), ("Years", 365 * 86_400))
NO_TEXT = re.compile(
    rb"&#(x0*([0-8bcef]|1[0-9a-f]|fff[ef])|0*([0-8]|1[124-9]|2[0-9]|3[01]|6553[45]));|[\x00-\x08\x0b\x0c\x0e-\x1f]"
    rb"|\xef\xbf[\xbe\xbf]",
    re.IGNORECASE,
)
"""Characters that a key may have and XML may not, as servers write them all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket, and the keys to it."""

    name: str
    endpoint: str
    region: str
    access_key: str = ""
    """Empty: anonymous."""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    authority: str = field(default="", repr=False)
    """A private certificate authority in PEM."""


def read_append_only(bucket: Bucket, patience: Patience) -> AppendOnly:
    """Whether every new version in the bucket is locked for a time, so that no writer can lose what was there."""
    try:
        versions = text_of(ask(bucket, "versioning", patience), "Status")
        lock = ask(bucket, "object-lock", patience)
    except StorageRefusedError as fault:
        return AppendOnly(holds=False, reason=f"The bucket does not say: {fault.message}")
    if versions != "Enabled":
        return AppendOnly(holds=False, reason="The bucket keeps no versions")
    mode = text_of(lock, "Mode")
    span = [f"{text_of(lock, unit)} {unit.lower()}" for unit, _ in UNITS if text_of(lock, unit)]
    if text_of(lock, "ObjectLockEnabled") != "Enabled" or not mode or not span:
        return AppendOnly(holds=False, reason="The bucket keeps versions, but locks none by default")
    if mode != "COMPLIANCE":
        return AppendOnly(holds=False, reason=f"The lock's mode is {mode}: whoever has the right can lift it")
    lock_s = next((int(text) * seconds for unit, seconds in UNITS if (text := text_of(lock, unit)).isdigit()), 0)
    return AppendOnly(holds=True, reason=f"Every version is locked for {span[0]} (mode {mode})", lock_s=lock_s)


def ask(
    bucket: Bucket, what: str, patience: Patience, more: Mapping[str, str] | None = None
) -> ElementTree.Element | None:
    """What the bucket says of itself; None where it has no such configuration.

    Args:
        what: of S3's sub-resources, as `versioning`.
        more: of the question.

    Raises:
        StorageRefusedError: it does not say.
        StorageUnreachableError: it does not answer.
    """
    query = {what: "", **(more or {})}
    answer = retried(lambda: _sent(bucket, query, patience), patience)
    if answer.status_code == 404:
        return None
    if answer.status_code != 200:
        raise StorageRefusedError(f"HTTP {answer.status_code} for ?{what}", fix="Allow the key to read it.")
    try:
        return ElementTree.fromstring(NO_TEXT.sub(b"?", answer.content))
    except ElementTree.ParseError:
        raise StorageRefusedError(f"No XML for ?{what}", fix="Use a server that speaks S3.") from None


def _sent(bucket: Bucket, query: Mapping[str, str], patience: Patience) -> httpx.Response:
    url = f"{bucket.endpoint.rstrip('/')}/{quote(bucket.name)}"
    headers = sign(bucket, "GET", url, query, now=datetime.now(UTC)) if bucket.access_key else {}
    calls = Calls(bucket.endpoint, patience, authority=bucket.authority)
    try:
        answer = calls.ask("GET", f"{url}?{joined(query)}", headers=headers)
    finally:
        calls.close()
    if answer.status_code >= 500:
        raise unreachable(bucket.endpoint, f"HTTP {answer.status_code}")
    return answer


def joined(query: Mapping[str, str]) -> str:
    """As a signature wants it."""
    return "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))


def sign(
    bucket: Bucket, method: str, url: str, query: Mapping[str, str], *, now: datetime, digest: str = EMPTY
) -> dict[str, str]:
    """Headers of a request whose body has this SHA-256 (AWS Signature Version 4)."""
    parts, day, second = urlsplit(url), now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": second}
    headers |= {"x-amz-security-token": bucket.token} if bucket.token else {}
    names = ";".join(sorted(headers))
    head = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join((method, parts.path or "/", joined(query), head, names, digest))
    scope = f"{day}/{bucket.region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", second, scope, sha256(request.encode()).hexdigest()))
    key = f"AWS4{bucket.secret}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={bucket.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers | {"authorization": f"AWS4-HMAC-SHA256 {credential}"}


def text_of(found: ElementTree.Element | None, name: str) -> str:
    """The text of the first element of that name, whatever its namespace; empty if there is none."""
    for element in found.iter() if found is not None else ():
        if element.tag.rpartition("}")[2] == name:
            return (element.text or "").strip()
    return ""
