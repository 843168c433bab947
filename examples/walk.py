"""The walk: real data from a raw file to a served, watched model, six stations in one file.

    raw file -> dataset -> clean dataset -> model -> optimised model -> endpoint -> drift report and alert

Run it with `lepton walk`, or `python examples/walk.py` beside a running `lepton up`.
Each station is one call that submits a job; each job leaves versions in the catalog, and the next call names them.
"""

import json
import sys
import textwrap
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from shutil import get_terminal_size
from tempfile import TemporaryDirectory

import numpy as np

import lepton
from lepton.core.errors import LeptonError

HERE = Path(__file__).parent
RAW = HERE / "mnist-raw.tar.xz"  # 10,000 hand-written digits with planted faults; mnist-LICENSE is theirs
TRAIN_WORKERS = 2
WRAPPED = {"subsequent_indent": 19 * " ", "break_long_words": False, "break_on_hyphens": False}
CHECKS = ("corrupt", "blank", "unlabelled", "unknown_label", "duplicate", "conflict")


def main(name: str = "digits", keep: bool = False, epochs: int = 14) -> dict[str, float | list]:
    """Take the six stations in their order; return the figures of the summary."""
    client = lepton.connect()
    with Walk(keep) as walk:
        # 1 · ingest: the raw file is kept under its hash; a dataset version is made of it
        job = walk.station("ingest", client.data.add(RAW, name=name))
        dataset = left(client, job, "dataset")
        walk.done(f"{dataset.meta['rows']:,} rows from {RAW.name}", dataset)

        # 2 · clean: faulty rows are found, reported and set apart; the rest is split by content
        job = walk.station("clean", client.data.clean(dataset.id, name=f"{name}-clean"))
        clean = left(client, job, "dataset", f"{name}-clean")
        report = left(client, job, "report")
        faults = ", ".join(f"{report.meta[check]} {check.replace('_', ' ')}" for check in CHECKS)
        walk.done(f"{clean.meta['rows']:,} rows kept; set apart: {faults}", clean)

        # 3 · train: a small CNN, data-parallel on two workers; metrics stream to the run while it learns
        share = cpus(client)
        how = {"workers": TRAIN_WORKERS, "epochs": epochs, "cpu_milli": share}
        job = walk.station("train", client.train.start(clean.id, name=name, **how))
        model = left(client, job, "model")
        walk.done(f"accuracy {model.meta['accuracy']:.2%} on held-out images", model)

        # 4 · optimise: exported, measured, kept where it is faster and no worse
        job = walk.station("optimise", client.optimize.start(model.id, dataset=clean.id, name=f"{name}-fast"))
        fast = left(client, job, "model")
        walk.done(
            f"{fast.meta['form']}: {fast.meta['speedup']:.1f}x as fast, accuracy {fast.meta['accuracy']:.2%}", fast
        )

        # 5 · deploy: a front and a worker process answer real HTTP requests
        walk.begin("deploy")
        images, labels = held_out(clean)
        limits = {"worker_cpu_milli": share // 2, "capture_rows": len(images)}
        walk.endpoint = client.serve.apply(fast.id, name=name, **limits)
        endpoint, asked = walk.endpoint.wait(), datetime.now(UTC)
        right, seconds = ask(endpoint, images, labels)
        walk.done(
            f"{endpoint.url}: {right:.2%} of {len(images):,} right, {len(images) / seconds:,.0f} images/s", endpoint
        )

        # 6 · observe: what it was asked looks like what it learned from; a drifted batch does not
        walk.begin("observe")
        calm = left(client, walk.station("observe", check(client, name, asked)), "report")
        ask(endpoint, 255 - images[:200], labels[:200])  # somebody turns the scanner's contrast round
        turned = datetime.now(UTC)
        ask(endpoint, 255 - images[200:400], labels[200:400])
        drifted = left(client, walk.station("observe", check(client, name, turned)), "report")
        alerts = [alert for alert in client.observe.alerts() if alert.report == drifted.id]
        found = f"{served(calm)}; held-out images: {verdict(calm)}; inverted: {verdict(drifted)}"
        walk.done(f"{found}, {len(alerts)} alert raised", drifted)
    return {"accuracy": model.meta["accuracy"], "alerts": len(alerts), "seconds": walk.summary(), "stations": walk.rows}


def left(client: lepton.Client, job: lepton.Job, kind: str, name: str = "") -> lepton.Version:
    """The version of a kind that a job left."""
    return client.catalog.list(job=job.id, kind=kind, name=name)[0]


def cpus(client: lepton.Client) -> int:
    """What each worker may have, in thousandths of a CPU: so the walk fits one core, or beside another endpoint."""
    free = client.pool.nodes()[0]["status"]["free"]["cpu_milli"]
    return max(250, min(1000, free // TRAIN_WORKERS))


def held_out(clean: lepton.Version) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the rows that training never saw."""
    with TemporaryDirectory() as folder:
        clean.download(folder)
        first, end = json.loads(Path(folder, "table.json").read_text())["splits"]["test"]
        return tuple(np.load(Path(folder, "columns", f"{name}.npy"))[first:end] for name in ("image", "label"))


def check(client: lepton.Client, name: str, until: datetime) -> lepton.Job:
    """The drift check of a sample of what the endpoint was asked, up to a moment."""
    return client.observe.check(name, capture=client.observe.capture(name, until=until).id)


def ask(endpoint: lepton.Endpoint, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Send images in batches of 20; return the share answered rightly, and the seconds it took."""
    start, answers = time.perf_counter(), []
    for batch in np.array_split(images, len(images) // 20):
        answers += [row["label"] for row in endpoint.predict(batch)["outputs"]]
    hits = sum(answer == str(label) for answer, label in zip(answers, labels, strict=True))
    return hits / len(labels), time.perf_counter() - start


def verdict(report: lepton.Version) -> str:
    """A drift report in words."""
    return f"{'drift' if report.meta['drifted'] else 'no drift'} (score {report.meta['score']:.2f})"


def served(report: lepton.Version) -> str:
    """How the endpoint answered meanwhile, in words."""
    meta = report.meta
    return (
        f"p50 {meta['p50_ms']:.1f} ms, {meta['throughput_per_s']:,.0f} requests/s" if "p50_ms" in meta else "no traffic"
    )


def title(made: lepton.Version | lepton.Endpoint) -> str:
    """What a station has made: kind, name, version and digest; of an endpoint its name and id."""
    if isinstance(made, lepton.Endpoint):
        return f"endpoint {made.name} {made.id}"
    return f"{made.kind} {made.ref} {made.digest[:12]}"


class Walk:
    """Prints a progress line per station and a summary at the end; broken off, it stops what it began."""

    def __init__(self, keep: bool) -> None:
        self.keep, self.is_live = keep, sys.stdout.isatty()
        self.rows, self.start, self.name, self.began = [], time.perf_counter(), "", 0.0
        self.job = self.endpoint = None

    def __enter__(self) -> "Walk":
        return self

    def __exit__(self, kind: type | None, fault: BaseException | None, trace: object) -> None:
        with suppress(LeptonError) if fault else nullcontext():
            if self.job and not self.job.is_final:
                self.job.stop(grace_s=2)
            if self.endpoint and (fault or not self.keep):
                self.endpoint.delete().wait("deleted")

    def begin(self, name: str) -> None:
        """A station begins."""
        self.name, self.began = name, time.perf_counter()
        self.show("...")

    def show(self, what: str) -> None:
        """What the station does now, on one line of the terminal; elsewhere only results are printed."""
        if self.is_live:
            line = f"{len(self.rows) + 1}/6 {self.name:<9} {what}"
            print(f"\r\x1b[K{line[: get_terminal_size().columns - 1]}", end="", flush=True)

    def station(self, name: str, job: lepton.Job) -> lepton.Job:
        """A station's job runs; return it when it has ended well."""
        self.job = job
        if name != self.name:
            self.begin(name)
        return job.wait(tell=lambda fraction, text: self.show(f"{fraction:4.0%}  {text}"))

    def done(self, what: str, made: lepton.Version | lepton.Endpoint) -> None:
        """A station has ended; `made` is what it leaves."""
        seconds = time.perf_counter() - self.began
        self.rows.append({"station": self.name, "seconds": round(seconds, 1), "made": title(made), "what": what})
        clear = "\r\x1b[K" if self.is_live else ""
        print(f"{clear}{len(self.rows)}/6 {self.name:<9} {seconds:5.1f} s  {what}", flush=True)

    def summary(self) -> float:
        """Print the table at the end; return the seconds since the walk began."""
        seconds = time.perf_counter() - self.start
        head = {"station": "station", "seconds": "seconds", "made": "made", "what": "what"}
        ends = {"station": "all six", "seconds": round(seconds, 1), "made": "", "what": ""}
        wide = max(len(row["made"]) for row in self.rows)
        print()
        for row in [head, *self.rows, ends]:
            line = f"{row['station']:<9}{row['seconds']:>8}  {row['made']:<{wide}}  {row['what']}".rstrip()
            wrapped = textwrap.wrap(line, max(40, get_terminal_size().columns), **WRAPPED) if self.is_live else [line]
            print("\n".join(wrapped))
        return round(seconds, 1)


if __name__ == "__main__":
    main()
