"""The stations that do work as jobs: data, train, optimize and observe. Each call returns its job at once."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Unpack

from lepton.core.errors import UnavailableError
from lepton.sdk.artifacts import AsyncCatalog, AsyncVersion, Version
from lepton.sdk.http import Http, part
from lepton.sdk.jobs import AsyncJob, Job
from lepton.sdk.options import StandingOptions
from lepton.sdk.portal import Blocking, attribute, listing, returning
from lepton.sdk.show import card

NUMBERS_S = 6.0
"""An endpoint under load tells its numbers every 5 s."""
CAPTURE_POLL_S = 0.1


class Station:
    """What all stations share: where they are, and how a wish becomes a job."""

    def __init__(self, http: Http, workspace: str) -> None:
        self._http = http
        self._workspace = workspace

    async def _submit(self, path: str, body: Mapping[str, Any]) -> AsyncJob:
        return AsyncJob(self._http, await self._http.post(path, body, workspace=self._workspace))


class CleanOptions(StandingOptions, total=False):
    """What a clean dataset is."""

    classes: Sequence[str]
    """The labels that may occur, in the order a model learns them."""
    test_share: float
    """Share of the clean rows held out for testing."""
    seed: int
    """Another one holds out other rows; 0 unless given."""
    blank_range: int
    """An image whose brightest and darkest pixel differ by no more (of 255) is blank."""


class TrainOptions(StandingOptions, total=False):
    """How a model is trained."""

    workers: int
    """Each takes its share of every batch; 1 unless given."""
    epochs: int
    """How often every image is seen; 14 unless given."""
    batch_size: int
    """Images a step, over all workers; 128 unless given."""
    learning_rate: float
    """At its highest; 0.08 unless given."""
    seed: int
    """Equal seeds on equal data give equal weights; 0 unless given."""
    cpu_milli: int
    """Of each worker, in thousandths of a CPU; 1000 unless given."""
    retries: int
    """How often it goes on from its last checkpoint after a worker failed; 2 unless given."""


class AsyncData(Station):
    """Station 1: files come in and become clean datasets."""

    async def add(self, path: str | Path, *, name: str, **options: Unpack[StandingOptions]) -> AsyncJob:
        """Upload a raw file (kept as it is, under its hash) and submit the job that makes a dataset version of it.

        Args:
            path: a zip or tar archive of images with their labels.
            name: of the raw file and of the dataset.
            options: see `StandingOptions`.
        Raises:
            BadNameError: nothing can be called `name`; nothing is uploaded.
            InvalidError: the path is no readable file.
        """
        catalog = AsyncCatalog(self._http, self._workspace)
        raw = await catalog.upload([path], kind="raw", name=name, meta={"file": Path(path).name})
        return await self.ingest(raw.id, name=name, **options)

    async def ingest(self, raw: str, *, name: str, **options: Unpack[StandingOptions]) -> AsyncJob:
        """Submit the job that makes a dataset version of an uploaded raw file."""
        return await self._submit("/data/ingest", {"raw": raw, "name": name, **options})

    async def clean(self, dataset: str, *, name: str, **options: Unpack[CleanOptions]) -> AsyncJob:
        """Submit the job that checks every row of a dataset version, quarantines the faulty and splits the rest."""
        return await self._submit("/data/clean", {"dataset": dataset, "name": name, **options})


class Data(Blocking[AsyncData]):
    """Station 1: files come in and become clean datasets."""

    add = returning(lambda: Job)(AsyncData.add)
    ingest = returning(lambda: Job)(AsyncData.ingest)
    clean = returning(lambda: Job)(AsyncData.clean)


class AsyncTrain(Station):
    """Station 2: a gang of workers turns a dataset into a model."""

    async def start(self, dataset: str, *, name: str, **options: Unpack[TrainOptions]) -> AsyncJob:
        """Submit the training of a model called `name` on a clean dataset version.

        Raises:
            NotFoundError: there is no such dataset.
            InvalidError, CapacityError: it was refused; nothing was made.
        """
        return await self._submit("/train", {"dataset": dataset, "name": name, **options})


class Train(Blocking[AsyncTrain]):
    """Station 2: a gang of workers turns a dataset into a model."""

    start = returning(lambda: Job)(AsyncTrain.start)


class OptimizeOptions(StandingOptions, total=False):
    """What an optimised model may cost."""

    max_accuracy_loss: float
    """How much less accurate than the trained model it may be, 0 .. 1."""


class AsyncOptimize(Station):
    """Station 3: a model is exported, measured, and kept where it is faster and no worse."""

    async def start(self, model: str, *, dataset: str, name: str, **options: Unpack[OptimizeOptions]) -> AsyncJob:
        """Submit the optimisation of a model version, measured on the held-out rows of a dataset version."""
        return await self._submit("/optimize", {"model": model, "dataset": dataset, "name": name, **options})


class Optimize(Blocking[AsyncOptimize]):
    """Station 3: a model is exported, measured, and kept where it is faster and no worse."""

    start = returning(lambda: Job)(AsyncOptimize.start)


class ObserveOptions(StandingOptions, total=False):
    """What a drift check looks at."""

    capture: str
    """Id of the capture version; the endpoint's newest unless given."""


class AsyncObserve(Station):
    """Station 5: what an endpoint was asked is compared with what its model was trained on."""

    async def check(self, endpoint: str, **options: Unpack[ObserveOptions]) -> AsyncJob:
        """Submit a drift check of what an endpoint was asked lately; a drifted batch raises an alert.

        Raises:
            NotFoundError: there is no such endpoint, or it has left no capture yet.
        """
        return await self._submit("/observe", {"endpoint": endpoint, **options})

    async def capture(self, endpoint: str, *, until: datetime | None = None, timeout_s: float = 30.0) -> AsyncVersion:
        """Wait for a sample of what an endpoint was asked, and for its numbers of the same time.

        Args:
            endpoint: its name.
            until: a moment the sample must reach: it then holds, or stands for, what was asked just before.
            timeout_s: wait no longer than this many seconds.
        Raises:
            UnavailableError: none came; an endpoint leaves one after enough rows, or when it falls idle.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        catalog = AsyncCatalog(self._http, self._workspace)
        while True:
            found = await catalog.list(kind="capture", name=endpoint, limit=1)
            if found and (until is None or found[0].meta["until"] >= until.timestamp() * 1_000_000):
                await self._numbers(endpoint, found[0].meta["from"], min(end, loop.time() + NUMBERS_S))
                return found[0]
            if loop.time() >= end:
                raise UnavailableError(
                    f"Endpoint '{endpoint}' left no new capture in {timeout_s:g} s", fix="Send it at least 50 rows."
                )
            await asyncio.sleep(CAPTURE_POLL_S)

    async def _numbers(self, endpoint: str, at: int, end: float) -> None:
        """Return once the endpoint has told how it served since then, or the time is over."""
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            fields = await self._http.get(f"/serve/endpoints/{part(endpoint)}", workspace=self._workspace)
            if fields["status"].get("served", {}).get("at", 0) >= at:
                return
            await asyncio.sleep(CAPTURE_POLL_S)

    async def alert(self, id: str) -> "AsyncAlert":
        """One alert.

        Raises:
            NotFoundError: there is none that you may see.
        """
        return AsyncAlert(self._http, await self._http.get(f"/observe/alerts/{part(id)}"))

    async def alerts(self, *, state: str = "", limit: int = 100) -> "list[AsyncAlert]":
        """The newest alerts, newest first."""
        page = await self._http.get("/observe/alerts", state=state, limit=limit, workspace=self._workspace)
        return [AsyncAlert(self._http, fields) for fields in page["items"]]


class AsyncAlert:
    """Something a person should look at."""

    def __init__(self, http: Http, fields: Mapping[str, Any]) -> None:
        self._http = http
        self.fields = dict(fields)
        self.id: str = fields["id"]
        self.name: str = fields["name"]
        self.state: str = fields["state"]
        self.cause: str = fields["spec"].get("cause", "")
        self.report: str = fields["spec"].get("report", "")

    async def resolve(self) -> "AsyncAlert":
        """Say that somebody has looked at it and it is over."""
        return AsyncAlert(self._http, await self._http.post(f"/observe/alerts/{self.id}/resolve", {}))

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        at = str(self.fields["created_at"])[:19].replace("T", " ")
        return {
            "at": at,
            "of": self.name,
            "state": self.state,
            "cause": self.cause,
            "report": self.report,
            "id": self.id,
        }


class Alert(Blocking[AsyncAlert]):
    """Something a person should look at."""

    id = attribute("id", str)
    name = attribute("name", str, "Of the endpoint it is about.")
    resolve = returning(lambda: Alert)(AsyncAlert.resolve)
    state = attribute("state", str)
    cause = attribute("cause", str, "In words.")
    report = attribute("report", str, "Id of the report version that shows it.")
    fields = attribute("fields", dict[str, Any], "All that the server said.")

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        return self._inner.row()

    def __repr__(self) -> str:
        return f"<Alert {self._inner.name}: {self._inner.cause}>"

    def _repr_html_(self) -> str:
        return card("Alert", self.row())


class Observe(Blocking[AsyncObserve]):
    """Station 5: what an endpoint was asked is compared with what its model was trained on."""

    check = returning(lambda: Job)(AsyncObserve.check)
    capture = returning(lambda: Version)(AsyncObserve.capture)
    alert = returning(lambda: Alert)(AsyncObserve.alert)
    alerts = listing(lambda: Alert)(AsyncObserve.alerts)
