"""Make things that generated requests can be about; print their ids as JSON: path's beginning -> parameters."""

import json
import sys
import tempfile
from pathlib import Path

from lepton.sdk.client import connect

with connect() as client, tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "data.bin"
    file.write_bytes(b"data")
    version = client.catalog.upload([file], kind="raw", name="raw")
    job = client.jobs.submit(["sh", "-c", "echo hello"], name="hello", cpus=0.1)
    job.wait(timeout_s=60)
    digest = version.fields["files"][0]["digest"]
    parts = [Path(folder) / name for name in ("model.json", "model.onnx")]
    for part in parts:
        part.write_bytes(b"no model")
    model = client.catalog.upload(parts, kind="model", name="model", parents={"raw": version.id})
    endpoint = client.serve.deploy(model.ref, name="digits")  # no real model: it fails, and is there to be asked about
    client.security.create_user("somebody")
    client.pool.set_queue("research")
    client.pool.set_quota("user", "somebody", limit={"gpu_milli": 1000})
    found = {
        "/api/v1/jobs/": {"id": job.id},
        "/api/v1/catalog/": {"ref": "raw"},
        "/api/v1/vault/": {"digest": digest},
        "/api/v1/serve/": {"ref": endpoint.name},
        "/api/v1/security/workspaces/": {"name": "default", "user": "somebody"},
        "/api/v1/pool/nodes/": {"name": client.pool.nodes()[0]["name"]},
        "/api/v1/pool/queues/": {"name": "research"},
        "/api/v1/pool/quotas/": {"of": "user", "who": "somebody"},
        "/api/v1/security/users/": {"name": "somebody"},
    }
sys.stdout.write(json.dumps(found))
