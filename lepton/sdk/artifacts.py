"""Datasets, models and every other version in the catalog, from Python."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lepton.core.artifact import check_path
from lepton.core.clock import from_micros
from lepton.core.disk import writing_to
from lepton.core.errors import IntegrityError, InvalidError
from lepton.core.ids import check_name
from lepton.sdk.http import Http, part
from lepton.sdk.portal import Blocking, Portal, attribute, blocking, listing, returning
from lepton.sdk.show import card

CHUNK_BYTES = 1 << 20
MOMENTS = ("from", "until")
"""Facts of a capture that are times, in microseconds since 1970."""


class AsyncVersion:
    """One immutable version of an artifact."""

    def __init__(self, http: Http, fields: Mapping[str, Any]) -> None:
        self._http = http
        self.fields = dict(fields)
        self.id: str = fields["id"]
        self.kind: str = fields["kind"]
        self.name: str = fields["name"]
        self.number: int = fields["number"]
        self.digest: str = fields["digest"]
        """SHA-256 of its manifest."""
        self.size_bytes: int = fields["size_bytes"]
        self.meta: dict[str, Any] = fields["meta"]
        self.parents: dict[str, str] = fields["parents"]
        self.job: str = fields["job"]

    @property
    def ref(self) -> str:
        """`name@number`."""
        return f"{self.name}@{self.number}"

    async def download(self, folder: str | Path) -> Path:
        """Write its files below `folder`, each checked against its hash; return the folder.

        Raises:
            IntegrityError: bytes arrived that do not match.
        """
        target = Path(folder)
        for file in self.fields["files"]:
            path = target / check_path(file["path"])
            with writing_to(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                await self._fetch(path, file["digest"])
        return target

    async def _fetch(self, path: Path, digest: str) -> None:
        partial = path.with_name(f".{path.name}.part")

        async def once() -> str:
            seen = hashlib.sha256()
            with partial.open("wb") as out:
                async for chunk in self._http.stream(f"/vault/objects/{digest}"):
                    seen.update(chunk)
                    out.write(chunk)
            return seen.hexdigest()

        try:
            if await self._http.patiently(once) != digest:
                raise IntegrityError(f"{path.name} arrived damaged", fix="Download it again.")
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    async def lineage(self) -> list[dict[str, Any]]:
        """Everything it was made from, nearest first: `[{role, depth, version}]`."""
        found = await self._http.get(f"/catalog/lineage/{self.id}", workspace=self.fields["workspace"])
        links: list[dict[str, Any]] = found["links"]
        return links

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        facts = ", ".join(f"{name} {_short(name, value)}" for name, value in self.meta.items() if _is_plain(value))
        return {
            "version": self.ref,
            "kind": self.kind,
            "size": _size(self.size_bytes),
            "sha256": self.digest[:12],
            "facts": facts[:160],
            "id": self.id,
        }

    def __repr__(self) -> str:
        return f"<{self.kind.capitalize()} {self.ref} {self.digest[:12]}>"


class Version(Blocking[AsyncVersion]):
    """One immutable version of an artifact; one of a dataset or model comes as `Dataset` or `Model`."""

    def __new__(cls, inner: AsyncVersion, portal: Portal) -> "Version":
        """The class that fits the kind."""
        return object.__new__({"dataset": Dataset, "model": Model}.get(inner.kind, Version))

    id = attribute("id", str)
    kind = attribute("kind", str)
    name = attribute("name", str)
    number = attribute("number", int)
    ref = attribute("ref", str, "`name@number`.")
    digest = attribute("digest", str, "SHA-256 of its manifest.")
    size_bytes = attribute("size_bytes", int)
    meta = attribute("meta", dict[str, Any])
    parents = attribute("parents", dict[str, str], "Role -> version id.")
    job = attribute("job", str, "Id of the job that made it.")
    fields = attribute("fields", dict[str, Any], "All that the server said.")

    download = blocking(AsyncVersion.download)
    lineage = blocking(AsyncVersion.lineage)

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        return self._inner.row()

    def __repr__(self) -> str:
        return repr(self._inner)

    def _repr_html_(self) -> str:
        return card(f"{self.kind.capitalize()} {self.ref}", self.row())


class Dataset(Version):
    """A version of a dataset."""


class Model(Version):
    """A version of a model."""


class AsyncCatalog:
    """What exists in a workspace, and where it came from."""

    def __init__(self, http: Http, workspace: str) -> None:
        self._http = http
        self._workspace = workspace

    async def list(self, *, kind: str = "", name: str = "", job: str = "", limit: int = 100) -> "list[AsyncVersion]":
        """The newest versions, newest first."""
        query = {"kind": kind, "name": name, "job": job, "limit": limit, "workspace": self._workspace}
        page = await self._http.get("/catalog/versions", **query)
        return [AsyncVersion(self._http, fields) for fields in page["items"]]

    async def get(self, ref: str, *, kind: str = "") -> AsyncVersion:
        """A version by id, `name` (the newest) or `name@number`.

        Raises:
            NotFoundError: there is none.
        """
        fields = await self._http.get(f"/catalog/versions/{part(ref)}", kind=kind, workspace=self._workspace)
        return AsyncVersion(self._http, fields)

    async def lineage(self, ref: str) -> dict[str, Any]:
        """Everything an endpoint or version was made from, nearest first: `{subject, links}`."""
        found: dict[str, Any] = await self._http.get(f"/catalog/lineage/{part(ref)}", workspace=self._workspace)
        return found

    async def upload(
        self,
        paths: Sequence[str | Path],
        *,
        kind: str,
        name: str,
        meta: Mapping[str, Any] | None = None,
        parents: Mapping[str, str] | None = None,
    ) -> AsyncVersion:
        """Bring files into the vault and make a version of them.

        Args:
            paths: files; each keeps its own name.
            kind: `raw` for data as you have it, `code`, `dataset`, `model`, ...
        Raises:
            BadNameError: nothing can be called `name`; nothing is uploaded.
            InvalidError: a path is no readable file.
        """
        check_name(name)
        files = []
        for path in map(Path, paths):
            digest, size = hash_file(path)
            await self._http.upload(path, digest, self._workspace)
            files.append({"path": path.name, "digest": digest, "size_bytes": size})
        body = {"kind": kind, "name": name, "files": files, "meta": dict(meta or {}), "parents": dict(parents or {})}
        return AsyncVersion(self._http, await self._http.post("/catalog/versions", body, workspace=self._workspace))


class Catalog(Blocking[AsyncCatalog]):
    """What exists in a workspace, and where it came from."""

    list = listing(lambda: Version)(AsyncCatalog.list)
    get = returning(lambda: Version)(AsyncCatalog.get)
    lineage = blocking(AsyncCatalog.lineage)
    upload = returning(lambda: Version)(AsyncCatalog.upload)


def hash_file(path: Path) -> tuple[str, int]:
    """(SHA-256, size) of a file.

    Raises:
        InvalidError: it cannot be read.
    """
    seen, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                seen.update(chunk)
                size += len(chunk)
    except OSError as fault:
        raise InvalidError(
            f"{path} cannot be read: {fault.strerror}", fix="Give the path of a readable file."
        ) from fault
    return seen.hexdigest(), size


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and len(str(value)) <= 60


def _short(name: str, value: Any) -> str:
    if name in MOMENTS and isinstance(value, int):
        return str(from_micros(value))[:19]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"
