"""Endpoints, from Python: deploy a model, call it, change it, take it down."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from lepton.core.errors import JobFailedError, NameTakenError, NotFoundError, UnavailableError, clip
from lepton.sdk.artifacts import hash_file
from lepton.sdk.http import Http, part
from lepton.sdk.http import encode as json_body
from lepton.sdk.jobs import AsyncJob, AsyncJobs
from lepton.sdk.limits import EndpointOptions, FrontOptions, class_limits, kept
from lepton.sdk.portal import Blocking, attribute, blocking, listing, returning
from lepton.sdk.show import card
from lepton.sdk.source import is_source, read_source

FIRST_PAUSE_S, LAST_PAUSE_S = 0.02, 0.5
NPY = "application/x-npy"
LOG_LINES = 40
FAULT, MOST_FAULT = "serve: request ", 64 << 10
"""How a replica begins to tell of a request that its handler failed on, and how much of that is kept."""
MOST_LISTED = 1000
PATIENCE_S = 30.0
"""How long an endpoint is asked again while it does not answer."""


class AsyncEndpoint:
    """A model that answers over HTTP. Attributes are as of the last `refresh`."""

    def __init__(self, http: Http, fields: Mapping[str, Any]) -> None:
        self._http = http
        self._read(fields)

    def _read(self, fields: Mapping[str, Any]) -> None:
        self.fields = dict(fields)
        self.id: str = fields["id"]
        self.name: str = fields["name"]
        self.state: str = fields["state"]
        """starting, ready, failed, stopping or deleted."""
        self.status: dict[str, Any] = fields["status"]
        self.workspace: str = fields["workspace"]

    @property
    def url(self) -> str:
        """Where it answers; empty until it is ready."""
        address = str(self.status.get("address", ""))
        return f"http://{address}" if address and "://" not in address else address

    @property
    def job(self) -> str:
        """Id of the job that runs it."""
        return str(self.status.get("job", ""))

    async def refresh(self) -> "AsyncEndpoint":
        """Read it again."""
        self._read(await self._http.get(f"/serve/endpoints/{self.id}", workspace=self.workspace))
        return self

    @property
    def is_settled(self) -> bool:
        """Whether it is ready, or has failed, with what was asked of it last; or has another state."""
        wish = self.fields["spec"].get("endpoint")
        return self.state not in ("ready", "failed") or self.status.get("spec", wish) == wish

    async def wait(
        self, state: str = "ready", *, timeout_s: float = 60.0, tell: Callable[[str], None] | None = None
    ) -> "AsyncEndpoint":
        """Return when it is in `state`; after a change, with the new model and limits.

        Args:
            state: ready, failed, stopping or deleted.
            timeout_s: wait no longer than this many seconds.
            tell: called at each look with its state and why it is in it.
        Raises:
            JobFailedError: it should become ready, and has failed.
            UnavailableError: it is not there after `timeout_s`.
        """
        loop = asyncio.get_running_loop()
        end, pause_s = loop.time() + timeout_s, FIRST_PAUSE_S
        while (await self.refresh()).state != state or not self.is_settled:
            if self.state == "failed" and state == "ready" and self.is_settled:
                raise JobFailedError(
                    f"Endpoint '{self.name}' failed: {self.status.get('why')}", fix=f"lepton serve logs {self.name}"
                )
            if tell is not None:
                tell(": ".join(filter(None, (self.state, str(self.status.get("why", ""))))))
            if loop.time() >= end:
                raise UnavailableError(
                    f"Endpoint '{self.name}' is {self.state} after {timeout_s:g} s: {self.status.get('why', '')}",
                    fix=f"It goes on; see: lepton serve why {self.name}",
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LAST_PAUSE_S)
        return self

    async def predict(self, inputs: Any, *, cacert: str = "") -> dict[str, Any]:
        """Ask it.

        Args:
            inputs: one row or a batch, as nested lists, or a numpy array (sent in binary, much cheaper).
            cacert: file of the certificates to trust, if its own is of no authority that everybody knows.
        Returns:
            `{"outputs": [...], "model": {...}}`.
        Raises:
            InvalidError: the inputs do not fit the model.
            ConfigError: its certificate is not trusted.
            UnavailableError: it has not answered for long.
        """
        content, kind = encode(inputs)
        loop = asyncio.get_running_loop()
        end, pause_s = loop.time() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            if not self.url:
                await self.wait()
            try:
                found: dict[str, Any] = await self._http.call(
                    f"{self.url}/predict", content=content, content_type=kind, cacert=cacert
                )
                return found
            except UnavailableError:  # its processes are being started again, perhaps at another address
                if loop.time() >= end or (await self.refresh()).state in ("failed", "stopping", "deleted"):
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LAST_PAUSE_S)

    async def ask(self, path: str, fields: Any, *, cacert: str = "") -> Any:
        """Ask a handler of a service, once.

        Args:
            path: where it answers, e.g. `/greet`.
            fields: its parameters by their names, or the whole body, as JSON has it.
            cacert: as of `predict`.
        Returns:
            What it answers: JSON, else bytes; None where it has nothing to say.
        Raises:
            InvalidError: they are not what it takes.
            NotFoundError: nothing answers at that path.
            UnavailableError: no replica has answered; whether one had begun is not known.
        """
        if not self.url:
            await self.wait()
        url = f"{self.url}/{path.removeprefix('/')}"
        return await self._http.call(url, content=json_body(fields), content_type="application/json", cacert=cacert)

    async def change(self, target: str, **limits: Unpack[EndpointOptions]) -> "AsyncEndpoint":
        """Give it another model or service, or other limits; `wait` returns when it has them.

        Args:
            target: as of `deploy`.
            limits: those that are left out stay as they were given; what nobody gave is as a service's class says.
                `front=""` gives it a front of its own.
        Raises:
            NotFoundError: there is no such model.
            InvalidError, CapacityError: it was refused; nothing was changed.
        """
        await self.refresh()
        body = await _wish(self._http, self.workspace, target, self.name, limits)
        body = kept(self.fields["spec"]["endpoint"], body, limits)
        self._read(await self._http.put(f"/serve/endpoints/{self.id}", body, workspace=self.workspace))
        return self

    async def why(self) -> dict[str, Any]:
        """Why it is as it is: `{state, why, log, deaths}`.

        `log` is how the log of the process ends that ended last; of an endpoint that is ready, the traceback of the
        last fault of a handler. `deaths` tells of each process that has ended and was replaced: its `rank`, how often
        (`count`), when last (`at`, microseconds since 1970) and `why`.
        """
        await self.refresh()
        found: dict[str, Any] = {"state": self.state, "why": str(self.status.get("why", "")), "log": "", "deaths": []}
        if not self.job:
            return found
        job = await AsyncJobs(self._http, self.workspace).get(self.job)
        found["deaths"] = deaths(job.status)
        ending = job.status.get("ending") or {}
        if ending and self.state != "ready":
            pieces = [piece async for piece in job.logs(rank=int(ending.get("rank") or 0))]
            found["log"] = "\n".join("".join(pieces).splitlines()[-LOG_LINES:])
        elif self.state == "ready":
            found["log"] = await self._last_fault(job)
        return found

    async def _last_fault(self, job: AsyncJob) -> str:
        """What a replica wrote of the last request that it failed on; empty: none did."""
        wish, told = self.fields["spec"].get("endpoint", {}), ""
        first = 0 if wish.get("front") else 1
        for rank in range(first, first + (0 if wish.get("is_front") else int(wish.get("replicas", 1)))):
            tail = ""
            async for piece in job.logs(rank=rank):
                tail += piece
                at = tail.rfind(FAULT)
                tail = tail[at:][:MOST_FAULT] if at >= 0 else tail[-len(FAULT) :]
            told = tail if tail.startswith(FAULT) else told
        return "\n".join(told.splitlines()[:LOG_LINES])

    async def delete(self) -> "AsyncEndpoint":
        """Take it down; its name is free once it is `deleted`.

        Raises:
            ForbiddenError: the token's role does not reach this far.
        """
        self._read(await self._http.delete(f"/serve/endpoints/{self.id}", workspace=self.workspace))
        return self

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        wish = self.fields["spec"].get("endpoint", {})
        return {
            "name": self.name,
            "state": self.state,
            "address": self.url,
            "replicas": str(wish.get("replicas", "")),
            "model": self._told(wish),
            "id": self.id,
        }

    def _told(self, wish: Mapping[str, Any]) -> str:
        """What it serves, and of which version that is."""
        if wish.get("is_front"):
            return "(a front)"
        entry, served = str(wish.get("entry", "")), str(self.status.get("serves") or wish.get("model", ""))
        return f"{entry} of {served}" if entry and served else entry or served

    def __repr__(self) -> str:
        return f"<Endpoint {self.name}: {self.state} {self.url}>"


class Endpoint(Blocking[AsyncEndpoint]):
    """A model that answers over HTTP. Attributes are as of the last `refresh`."""

    id = attribute("id", str)
    name = attribute("name", str)
    state = attribute("state", str, "starting, ready, failed, stopping or deleted.")
    status = attribute("status", dict[str, Any])
    fields = attribute("fields", dict[str, Any], "All that the server said.")
    workspace = attribute("workspace", str)
    url = attribute("url", str, "Where it answers; empty until it is ready.")
    job = attribute("job", str, "Id of the job that runs it.")

    refresh = returning(lambda: Endpoint)(AsyncEndpoint.refresh)
    wait = returning(lambda: Endpoint)(AsyncEndpoint.wait)
    predict = blocking(AsyncEndpoint.predict)
    ask = blocking(AsyncEndpoint.ask)
    change = returning(lambda: Endpoint)(AsyncEndpoint.change)
    why = blocking(AsyncEndpoint.why)
    delete = returning(lambda: Endpoint)(AsyncEndpoint.delete)

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        return self._inner.row()

    def __repr__(self) -> str:
        return repr(self._inner)

    def _repr_html_(self) -> str:
        return card(f"Endpoint {self.name}", self.row())


class AsyncServe:
    """The endpoints of a workspace."""

    def __init__(self, http: Http, workspace: str) -> None:
        self._http = http
        self._workspace = workspace

    async def deploy(self, target: str, *, name: str, **limits: Unpack[EndpointOptions]) -> AsyncEndpoint:
        """Deploy a model version or a service as an endpoint; it is starting when this returns.

        Args:
            target: id, `name` or `name@number` of a model version; or `file.py[:Class]`, a service, whose Python files
                go along, and whose class says what it needs; or `kind:path`, a model's file, e.g. `onnx:net.onnx`.
        Raises:
            NameTakenError, NotFoundError, CapacityError: it was refused; no endpoint was made.
            InvalidError: a file is missing, or is not what it should be.
        """
        body = {"name": name, **await _wish(self._http, self._workspace, target, name, limits)}
        return AsyncEndpoint(self._http, await self._http.post("/serve/endpoints", body, workspace=self._workspace))

    async def front(self, name: str, **options: Unpack[FrontOptions]) -> AsyncEndpoint:
        """Make a front that several endpoints share; it is starting when this returns.

        An endpoint that is deployed with `front=name` answers at the front's address under `/<its name>/`, and at the
        hosts it names. It costs no front process of its own.

        Raises:
            NameTakenError, InvalidError, CapacityError: it was refused; none was made.
        """
        body = {"name": name, "is_front": True, **options}
        return AsyncEndpoint(self._http, await self._http.post("/serve/endpoints", body, workspace=self._workspace))

    async def apply(self, target: str, *, name: str, **limits: Unpack[EndpointOptions]) -> AsyncEndpoint:
        """Deploy a model version or service, or give it to the endpoint of that name if there is one: see `change`.

        Raises:
            NotFoundError, InvalidError, CapacityError: it was refused; nothing was changed.
        """
        try:
            return await self.deploy(target, name=name, **limits)
        except NameTakenError:
            return await (await self.get(name)).change(target, **limits)

    async def get(self, ref: str) -> AsyncEndpoint:
        """An endpoint by name, id or the address at which it answers.

        Raises:
            NotFoundError: there is none.
        """
        if ":" in ref:  # no name or id has one
            found = {one.name: one.url for one in await self.list(limit=MOST_LISTED) if one.state != "deleted"}
            if not (name := at_address(ref, found)):
                raise NotFoundError(f"No endpoint answers at {clip(ref)}", fix="lepton serve list")
            ref = name
        return AsyncEndpoint(
            self._http, await self._http.get(f"/serve/endpoints/{part(ref)}", workspace=self._workspace)
        )

    async def list(self, *, state: str = "", limit: int = 100) -> "list[AsyncEndpoint]":
        """The newest endpoints, newest first."""
        page = await self._http.get("/serve/endpoints", state=state, limit=limit, workspace=self._workspace)
        return [AsyncEndpoint(self._http, fields) for fields in page["items"]]


class Serve(Blocking[AsyncServe]):
    """The endpoints of a workspace."""

    deploy = returning(lambda: Endpoint)(AsyncServe.deploy)
    front = returning(lambda: Endpoint)(AsyncServe.front)
    apply = returning(lambda: Endpoint)(AsyncServe.apply)
    get = returning(lambda: Endpoint)(AsyncServe.get)
    list = listing(lambda: Endpoint)(AsyncServe.list)


async def _wish(http: Http, workspace: str, target: str, name: str, limits: EndpointOptions) -> dict[str, Any]:
    """What an endpoint shall serve, as the API wants it; the files of a service are uploaded."""
    if not is_source(target):
        return {"model": target, **limits, "said": sorted(limits)}
    source = read_source(target)
    files = []
    for path, file in source.files:
        digest, size = hash_file(file)
        await http.upload(file, digest, workspace)
        files.append({"path": path, "digest": digest, "size_bytes": size})
    body = {"kind": "code", "name": name, "files": files, "meta": {"entry": source.entry}}
    code = await http.post("/catalog/versions", body, workspace=workspace)
    asked = class_limits(source.wishes, limits.keys())
    served = {"code": code["id"], "entry": source.entry}
    return {**served, **asked, **limits, "said": sorted(limits), "asked": sorted(asked)}


def at_address(wanted: str, addresses: Mapping[str, str]) -> str:
    """The name of the endpoint that answers there, whatever the scheme and the path; empty: none does.

    Args:
        addresses: name -> address.
    """
    place = (wanted.partition("://")[2] or wanted).replace("localhost:", "127.0.0.1:").rstrip("/") + "/"
    found = {address.partition("://")[2]: name for name, address in addresses.items() if address}
    return found.get(max((one for one in found if place.startswith(f"{one}/")), key=len, default=""), "")


def deaths(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which processes of an endpoint's job have been replaced, the latest death first."""
    rows = [
        {"rank": int(rank), "count": one["count"], "at": one["at"], "why": str(one.get("why", ""))}
        for rank, one in (status.get("replaced") or {}).items()
    ]
    return sorted(rows, key=lambda row: -row["at"])


def encode(inputs: Any) -> tuple[bytes, str]:
    """The body and content type of a prediction request."""
    if hasattr(inputs, "__array_interface__") and hasattr(inputs, "tobytes"):
        return npy(inputs), NPY
    return json.dumps({"inputs": inputs}).encode(), "application/json"


def npy(array: Any) -> bytes:
    """A numpy array as an .npy file (format 1.0), without importing numpy."""
    head = str({"descr": array.dtype.str, "fortran_order": False, "shape": tuple(array.shape)})
    padded = head + " " * (-(len(head) + 11) % 64) + "\n"
    return (
        b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin1") + bytes(array.tobytes("C"))
    )
