"""`vllm:MODEL`: the OpenAI API of vLLM, mounted at /api, where that package is installed."""

import os
from importlib import import_module
from typing import Any

from lepton.serve.photon.archive import schema_registry, type_str_registry
from lepton.serve.photon.config import ENV_VAR_REQUIRED
from lepton.serve.photon.marks import handler
from lepton.serve.photon.photon import Photon


class vLLMPhoton(Photon):  # noqa: N801  the vendor's name
    """A model on vLLM."""

    photon_type = "vllm"
    health_check_liveness_tcp_port = 8765
    requirement_dependency = ("vllm",)
    deployment_template = {  # noqa: RUF012  an interface
        "resource_shape": "gpu.a10",
        "env": {"VLLM_MODEL": ENV_VAR_REQUIRED},
        "secret": ["HUGGING_FACE_HUB_TOKEN"],
    }

    def __init__(self, name: str, model: str) -> None:
        super().__init__(name, model)
        self.model_id = model.partition(":")[2]
        if self.model_id:
            env = {**self.deployment_template["env"], "VLLM_MODEL": self.model_id}
            self.deployment_template = {**self.deployment_template, "env": env}

    @property
    def metadata(self) -> dict[str, Any]:
        """What its file says of it; it has no pickle."""
        return {key: value for key, value in super().metadata.items() if key != "py_obj"}

    def save(self, path: str | None = None) -> str:
        """Write the file, without a pickle."""
        return super(Photon, self).save(path)

    def init(self) -> None:
        """Say at once what is missing."""
        import_module("vllm")

    @handler(mount=True)
    def api(self) -> Any:
        """The application of vLLM's own server."""
        server = import_module("vllm.entrypoints.openai.api_server")
        arguments = import_module("vllm.entrypoints.openai.cli_args").make_arg_parser(
            import_module("vllm.utils").FlexibleArgumentParser()
        )
        return server.build_app(arguments.parse_args(["--model", os.environ["VLLM_MODEL"]]))


vLLMPhoton.__module__ = "leptonai.photon.vllm.vllm"
schema_registry.register("vllm", vLLMPhoton)
type_str_registry.register("vllm", vLLMPhoton)
