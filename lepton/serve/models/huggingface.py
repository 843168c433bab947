"""Hugging Face models from a local folder: `hf:FOLDER`, or `hf:FOLDER?task=fill-mask`.

Nothing is fetched, no code of the folder is run, and of weights only safetensors are read: other files are pickles.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from lepton.core.errors import InvalidError, clip
from lepton.core.resource import Json
from lepton.serve.faults import ModelFileError
from lepton.serve.loading import find_named
from lepton.serve.models.embedding import EmbeddingModel, Encoder
from lepton.serve.models.program import TensorProgram
from lepton.serve.models.tasks import TASKS, PipelineModel
from lepton.serve.protocols.openai.program import OpenAI
from lepton.serve.routes import OPENAI

ENDINGS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForImageClassification": "image-classification",
}
"""How the name of an architecture ends -> its task; any other gives embeddings."""
EMBEDDING = "feature-extraction"
CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
    "image-classification": "AutoModelForImageClassification",
}
"""Task -> the class of transformers that finds a model's own."""
ITS_OWN: Mapping[str, Any] = {"trust_remote_code": False, "local_files_only": True}
ABSENT = ("missing_keys", "mismatched_keys")
UNUSED = re.compile(r"\bpooler\b")
"""Weights of a model without a head that embeddings do not need."""
TOKENIZER = "tokenizer.json"


def open_pipeline(folder: Path, what: str) -> TensorProgram:
    """The program of a model's folder.

    Raises:
        ConfigError: there is no such folder.
        InvalidError: no such task is known here.
        ModelFileError: it cannot be served.
    """
    path, options = find_named(folder, what)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a replica computes with the threads that it is given
    transformers.utils.logging.disable_progress_bar()
    config = read_config(path)
    task = options.get("task") or task_of(path, config)
    if task != EMBEDDING and task not in TASKS:
        raise InvalidError(f"The task {task[:80]!r} is not known here", fix=f"Use {', '.join([EMBEDDING, *TASKS])}.")
    name = path.name
    if task == EMBEDDING:
        encoder = Encoder(path, *_guarded(path, load_encoder))
        return TensorProgram(EmbeddingModel(name, encoder), api=OpenAI({name: encoder}, first=OPENAI))
    return TensorProgram(PipelineModel(name, task, _guarded(path, lambda place: load(place, task))))


def read_config(path: Path) -> Mapping[str, Json]:
    """What the folder says of its model.

    Raises:
        ModelFileError: it says nothing.
    """
    try:
        found = json.loads((path / "config.json").read_text())
    except (OSError, ValueError) as fault:
        raise ModelFileError(
            f"{path.name} is no folder of a model: {fault}", fix="Give what save_pretrained wrote."
        ) from fault
    if not isinstance(found, dict):
        raise ModelFileError(f"{path.name}/config.json is no object", fix="Give what save_pretrained wrote.")
    return found


def task_of(path: Path, config: Mapping[str, Json]) -> str:
    """What a model is for, by the name of its architecture; one of sentence-transformers gives embeddings."""
    names = [str(name) for name in config.get("architectures") or ()]
    if (path / "modules.json").exists():
        return EMBEDDING
    return next((task for name in names for end, task in ENDINGS.items() if name.endswith(end)), EMBEDDING)


def load(path: Path, task: str) -> Any:
    """The pipeline of a folder."""
    model = load_model(getattr(transformers, CLASSES[task]), path)
    if TASKS[task].is_image:
        reader = {"image_processor": transformers.AutoImageProcessor.from_pretrained(str(path), **ITS_OWN)}
    else:
        reader = {"tokenizer": load_tokenizer(path)}
    return transformers.pipeline(task, model=model, device=-1, **reader)


def load_encoder(path: Path) -> tuple[Any, Any]:
    """Tokenizer and model of a folder."""
    return load_tokenizer(path), load_model(transformers.AutoModel, path)


def load_model(kind: Any, path: Path) -> Any:
    """The model of a folder, all of whose weights are there: transformers draws what is missing at random.

    Raises:
        ModelFileError: some are not, have another shape, or are no safetensors.
    """
    if not any(path.glob("*.safetensors")):
        raise ModelFileError(
            f"{path.name} has no weights in safetensors; a .bin is a pickle, and is not read",
            fix="Save it again by model.save_pretrained(FOLDER), which writes model.safetensors.",
        )
    model, told = kind.from_pretrained(str(path), use_safetensors=True, output_loading_info=True, **ITS_OWN)
    names = [key[0] if isinstance(key, tuple) else key for word in ABSENT for key in told[word]]
    needed = sorted(name for name in names if kind is not transformers.AutoModel or not UNUSED.search(name))
    if needed:
        raise ModelFileError(
            f"{path.name} has not all weights of a {type(model).__name__}: {len(needed)} are missing or of another "
            f"shape, {clip(', '.join(needed), 300)}",
            fix="Give what save_pretrained wrote, and the task that it was trained for.",
        )
    return model.eval()


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a folder: where its files are missing, transformers makes one that knows no word.

    Raises:
        ModelFileError: they are.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path), **ITS_OWN)
    names = sorted({TOKENIZER, *tokenizer.vocab_files_names.values()}) if tokenizer.vocab_files_names else []
    if names and not any((path / name).exists() for name in names):
        raise ModelFileError(
            f"{path.name} has no tokenizer: there is no {' or '.join(names)}",
            fix="Save it beside the model: tokenizer.save_pretrained(FOLDER).",
        )
    return tokenizer


def _guarded(path: Path, load: Callable[[Path], Any]) -> Any:
    try:
        return load(path)
    except ModelFileError:
        raise
    except Exception as fault:
        raise ModelFileError(
            f"{path.name} cannot be loaded: {type(fault).__name__}: {str(fault)[:1000]}",
            fix="Give what save_pretrained wrote: config, tokenizer and weights in safetensors. "
            "A model that brings code of its own is not served this way: write a Service.",
        ) from fault
