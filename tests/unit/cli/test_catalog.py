"""How the command line draws a lineage and shows versions."""

from typing import Any

from lepton.cli.catalog import lineage_lines, version_card
from lepton.sdk.artifacts import AsyncVersion


def link(id: str, kind: str, **parents: str) -> dict[str, Any]:
    files = [{"path": "f", "digest": "d" * 64}] if kind == "raw" else []
    fields = {"id": id, "kind": kind, "name": id, "number": 1, "digest": id * 20, "parents": parents, "files": files}
    return {"role": "", "depth": 0, "version": fields}


def test_siblings_hang_on_one_stem() -> None:
    links = [
        link("fast", "model", model="slow", dataset="rows"),
        link("slow", "model", dataset="rows"),
        link("rows", "dataset", raw="file"),
        link("file", "raw"),
    ]
    subject = {"kind": "endpoint", "name": "e", "state": "ready", "id": "ep"}
    lines = lineage_lines({"subject": subject, "links": links})
    assert lines == [
        "endpoint e  ready  ep",
        "└─ model: model fast@1  fastfastfastfast  fast",
        "   ├─ model: model slow@1  slowslowslowslow  slow",
        "   │  └─ dataset: dataset rows@1  rowsrowsrowsrows  rows",
        "   │     └─ raw: raw file@1  filefilefilefile  file",
        f"   │        └─ file f  sha256 {'d' * 64}",
        "   └─ dataset: dataset rows@1  (see above)",
    ]
    assert lineage_lines({"subject": {"kind": "model"}, "links": links[3:]})[0] == "raw file@1  filefilefilefile  file"


def test_when_a_capture_was_made_is_a_time() -> None:
    fields = link("c", "capture")["version"] | {
        "size_bytes": 1,
        "meta": {"rows": 2, "from": 1_795_660_038_429_596, "until": 1_795_660_038_429_596},
        "job": "",
        "created_at": "",
    }
    version: Any = AsyncVersion(None, fields)  # type: ignore[arg-type]
    assert version.row()["facts"] == "rows 2, from 2026-11-26 02:27:18, until 2026-11-26 02:27:18"
    assert version_card(version)["from"] == "2026-11-26 02:27:18"
