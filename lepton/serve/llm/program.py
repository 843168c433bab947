"""A language model as a program: `gguf:FILE` is served through the OpenAI API by the runtime that suits the machine."""

import os
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from lepton.core.errors import ConfigError
from lepton.core.resource import Json
from lepton.serve.llm.gguf import read_head
from lepton.serve.llm.runtime import Runtime
from lepton.serve.loading import find_named
from lepton.serve.openapi import pages, sheet
from lepton.serve.program import Work
from lepton.serve.protocols.openai.program import OpenAI
from lepton.serve.routes import OPENAI

ABOUT = "A language model, asked through the OpenAI API."
MOST_WAITING = 2
"""A replica takes this many times what its runtime computes together, so that a slot that becomes free is filled."""


class LanguageProgram:
    """`program.Program` of one language model."""

    threads = 0

    def __init__(self, name: str, runtime: Runtime, head: Mapping[str, Json]) -> None:
        self.room = runtime.room * MOST_WAITING
        self._name = name
        self._runtime = runtime
        self._head = head
        self._api = OpenAI({name: runtime}, first=OPENAI)
        self.counters = self._api.counters

    def works(self) -> list[Work]:
        """The OpenAI API."""
        return self._api.works()

    def about(self) -> Mapping[str, Json]:
        """What a client should know of it."""
        told = ("general.name", "general.architecture", "general.license", "general.size_label")
        return {
            "model": {
                "name": self._name,
                **{key.partition(".")[2]: self._head[key] for key in told if key in self._head},
            },
            "context": self._runtime.context,
            "runtime": type(self._runtime).__name__,
            "openai": "/v1",
            "pages": pages(sheet(self._name, ABOUT, *self._api.described())),
        }

    async def start(self) -> None:
        """Get the runtime ready."""
        await self._runtime.start()

    async def close(self) -> None:
        """Let go of the model."""
        await self._runtime.close()

    def is_healthy(self) -> bool:
        """What the runtime says."""
        return self._runtime.is_healthy()

    def tick(self) -> None:
        """Nothing to do by the clock."""


def open_gguf(folder: Path, entry: str) -> LanguageProgram:
    """The program of a GGUF file.

    Raises:
        ConfigError: no such file, or no runtime for it is installed.
        GgufError, RuntimeFaultError: it cannot be loaded.
    """
    path, _ = find_named(folder, entry)
    head = read_head(path)
    return LanguageProgram(path.stem, open_runtime(path, head), head)


def open_runtime(path: Path, head: Mapping[str, Json]) -> Runtime:
    """vLLM where it is installed and a GPU is there, else llama.cpp.

    Raises:
        ConfigError: neither is installed.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    context = int(head.get(f"{head.get('general.architecture')}.context_length") or 2048)
    if has_gpu() and find_spec("vllm") is not None:
        return cast(Runtime, import_module("lepton.serve.llm.vllm").open_engine(path, context=context))
    if find_spec("xllamacpp") is None:
        raise ConfigError("No runtime for GGUF models is installed", fix="pip install 'lepton-platform[llm]'")
    has_tools = "tools" in str(head.get("tokenizer.chat_template", ""))
    words = int(head.get("tokenizer.ggml.tokens") or 0)
    open_llama = import_module("lepton.serve.llm.xllama").XLlama
    return cast(Runtime, open_llama(path, threads=threads, context=context, has_tools=has_tools, vocabulary=words))


def has_gpu() -> bool:
    """Whether this process may use an NVIDIA GPU."""
    return Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")
