"""Models on vLLM's own engine, in this process, on a GPU: paged attention, continuous batching, prefix cache.

Written against `vllm.v1.engine.async_llm.AsyncLLM`; it needs a GPU and is not run by the tests.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from vllm import PoolingParams, SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM

from lepton.serve.llm.runtime import Ask, AskError, ContextLengthError, Likely, Piece, Usage, Vectors

ROOM = 256
FIELDS = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")


class Vllm:
    """`runtime.Runtime` of one model."""

    room = ROOM

    def __init__(self, arguments: AsyncEngineArgs, context: int) -> None:
        self.context = context
        self._arguments = arguments
        self._engine: Any = None
        self._tokenizer: Any = None
        self._numbers = count(1)

    async def start(self) -> None:
        """Load the model; the engine belongs to the loop that starts it."""
        self._engine = AsyncLLM.from_engine_args(self._arguments)
        self._tokenizer = await self._engine.get_tokenizer()

    async def close(self) -> None:
        """End what runs, and let go of the model."""
        self._engine.shutdown()

    def is_healthy(self) -> bool:
        """Whether the engine's processes live."""
        return not self._engine.errored

    async def chat(self, ask: Ask) -> AsyncIterator[Piece]:
        """The answer to its messages. Tool calls are not read out of the text."""
        if ask.tools:
            raise AskError("Tools are not known on this runtime", "tools", fix="Leave out `tools`.")
        prompt = self._tokenizer.apply_chat_template(list(ask.messages), tokenize=False, add_generation_prompt=True)
        ids = self._tokenizer.encode(prompt, add_special_tokens=False)
        async for piece in self._generate({"prompt_token_ids": ids}, ask, len(ids)):
            yield piece

    async def complete(self, ask: Ask) -> AsyncIterator[Piece]:
        """How its prompt goes on."""
        ids = self._tokenizer.encode(ask.prompt) if isinstance(ask.prompt, str) else list(ask.prompt)
        async for piece in self._generate({"prompt_token_ids": ids}, ask, len(ids)):
            yield piece

    async def _generate(self, prompt: Mapping[str, Any], ask: Ask, size: int) -> AsyncIterator[Piece]:
        if size >= self.context:
            raise ContextLengthError(f"{size} tokens do not fit into a context of {self.context}", fix="Send less.")
        request = f"lepton-{next(self._numbers)}"
        told = 0
        cached = 0
        is_over = False
        try:
            async for found in self._engine.generate(prompt, self._sampling(ask, size), request):
                output = found.outputs[0]
                told += len(output.token_ids)
                cached = found.num_cached_tokens or cached
                is_over = found.finished
                usage = Usage(size, told, cached)
                likely = self._likely(output) if ask.logprobs is not None else ()
                yield Piece(output.text, likely, finish=output.finish_reason or "", usage=usage)
        finally:
            if not is_over:
                await self._engine.abort(request)

    def _sampling(self, ask: Ask, size: int) -> SamplingParams:
        given = {name: value for name in FIELDS if (value := getattr(ask, name)) is not None}
        if ask.schema is not None:
            given["structured_outputs"] = StructuredOutputsParams(json=dict(ask.schema))
        return SamplingParams(
            max_tokens=ask.max_tokens or self.context - size,
            stop=list(ask.stop),
            logprobs=ask.logprobs,
            logit_bias={int(token): value for token, value in ask.logit_bias.items()} or None,
            output_kind=RequestOutputKind.DELTA,
            **given,
        )

    def _likely(self, output: Any) -> list[Likely]:
        found = []
        for id, place in zip(output.token_ids, output.logprobs or (), strict=True):
            others = [Likely(one.decoded_token or "", other, one.logprob) for other, one in place.items()]
            chosen = next(one for one in others if one.id == id)
            found.append(chosen._replace(others=sorted(others, key=lambda one: -one.logprob)))
        return found

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        """A vector for each text, if the model is one for embeddings."""
        vectors = []
        size = 0
        for text in texts:
            prompt: Any = text if isinstance(text, str) else {"prompt_token_ids": list(text)}
            parts = self._engine.encode(prompt, PoolingParams(task="embed"), f"lepton-{next(self._numbers)}")
            last = [part async for part in parts][-1]
            vectors.append(last.outputs.data.tolist())
            size += len(last.prompt_token_ids)
        return Vectors(vectors, Usage(size))


def open_engine(path: Path, *, context: int) -> Vllm:
    """The runtime of a GGUF file; it is loaded when it is started."""
    return Vllm(AsyncEngineArgs(model=str(path), max_model_len=context, disable_log_stats=True), context)
