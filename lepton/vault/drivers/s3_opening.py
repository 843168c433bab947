"""From an address to a driver of a bucket."""

from urllib.parse import urlsplit

from lepton.core.errors import InvalidError
from lepton.vault.drivers.address import Address, read_as_of
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.s3 import S3Driver
from lepton.vault.drivers.s3_past import S3Past
from lepton.vault.drivers.s3_rules import Bucket


def open_storage(address: Address, credentials: Credentials, patience: Patience) -> S3Driver:
    """`s3://bucket/prefix?endpoint=...&region=...`; without an endpoint it is Amazon's. With `as_of` it is the past."""
    region = address.options.get("region") or "us-east-1"
    endpoint = address.options.get("endpoint") or f"https://s3.{region}.amazonaws.com"
    if urlsplit(endpoint).scheme not in ("http", "https") or "@" in endpoint:
        raise InvalidError("The endpoint of S3 is no plain http address", fix="Give endpoint=https://host:port.")
    bucket = Bucket(
        name=address.host,
        endpoint=endpoint.rstrip("/"),
        region=region,
        access_key=credentials.user,
        secret=credentials.secret,
        token=credentials.token,
        authority=credentials.authority,
    )
    if "as_of" in address.options:
        return S3Past(bucket, read_as_of(address.options["as_of"]), prefix=address.path, patience=patience)
    return S3Driver(bucket, prefix=address.path, patience=patience)
