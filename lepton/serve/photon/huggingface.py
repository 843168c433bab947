"""`hf:[TASK:]MODEL[@REVISION]`: a pipeline of transformers, from a local folder or its cache of the model hub.

The model is looked for when the photon gets ready, not when it is made, so making one needs no network.
"""

import re
from importlib import import_module
from typing import Any

from lepton.serve.photon.archive import schema_registry, type_str_registry
from lepton.serve.photon.marks import handler
from lepton.serve.photon.photon import Photon

MODEL = re.compile(r"hf:(?:(?P<task>[a-z0-9-]+):)?(?P<id>[\w./-]+?)(?:@(?P<revision>[\w.-]+))?")


class HuggingFacePhoton(Photon):
    """A pipeline of transformers behind POST /run."""

    photon_type = "hf"
    requirement_dependency = ("transformers", "torch")

    def __init__(self, name: str, model: str) -> None:
        super().__init__(name, model)
        found = MODEL.fullmatch(model)
        if found is None:
            raise ValueError(f"{model!r} is not hf:[TASK:]MODEL[@REVISION]")
        self.hf_task, self.hf_model, self.hf_revision = found["task"], found["id"], found["revision"]
        self._pipeline: Any = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What its file says of it; it has no pickle."""
        return {key: value for key, value in super().metadata.items() if key != "py_obj"}

    def save(self, path: str | None = None) -> str:
        """Write the file, without a pickle."""
        return super(Photon, self).save(path)

    def init(self) -> None:
        """Load the pipeline."""
        pipeline = import_module("transformers").pipeline
        self._pipeline = pipeline(self.hf_task, model=self.hf_model, revision=self.hf_revision)

    @handler(example={"inputs": "I enjoy walking with my cute dog"})
    def run(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline; options are the pipeline's own."""
        found = self._pipeline(inputs, **options)
        if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict) and len(found[0]) == 1:
            return next(iter(found[0].values()))
        return found


HuggingFacePhoton.__module__ = "leptonai.photon.hf.hf"
schema_registry.register(("hf", "huggingface"), HuggingFacePhoton)
type_str_registry.register("hf", HuggingFacePhoton)
