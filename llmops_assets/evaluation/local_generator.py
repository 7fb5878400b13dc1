"""A model of this machine as a generator of data: chat requests in, completions out."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import cast

import numpy
import torch
from transformers import LogitsProcessor
from transformers.utils import logging

from llmops_assets.data.generation.requests import ChatRequest, Completion
from llmops_assets.data.generation.specs import LocalSpec, SamplingSpec
from llmops_assets.data.normalize import SpecialTokenGuard
from llmops_assets.data.records import canonical_json
from llmops_assets.evaluation.generation import generate
from llmops_assets.evaluation.inputs import Message
from llmops_assets.evaluation.model import Policy
from llmops_assets.evaluation.nucleus import NucleusDraw
from llmops_assets.training.distillation.job import TeacherRef
from llmops_assets.training.distillation.specs import AnsweringSpec
from llmops_assets.training.distillation.teacher import load_teacher


class PresencePenalty(LogitsProcessor):
    """Takes `penalty` off the logits of the tokens that the answer already holds, and then draws, if it is to."""

    def __init__(self, penalty: float, prompt_length: int, then: LogitsProcessor | None) -> None:
        """`prompt_length`: padded length of the batch's prompts, which are not penalised."""
        self._penalty = penalty
        self._prompt_length = prompt_length
        self._then = then

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [rows, vocabulary]."""
        answered = input_ids[:, self._prompt_length :]
        present = torch.zeros_like(scores).scatter(-1, answered, 1.0)
        scores = scores - self._penalty * present
        return scores if self._then is None else self._then(cast(torch.LongTensor, input_ids), scores)


class LocalGenerator:
    """A frozen model. It is loaded when the first request comes, which a build from the cache never makes."""

    def __init__(self, spec: LocalSpec, model: TeacherRef) -> None:
        self._spec = spec
        self._model = model
        self._policy: Policy | None = None

    @property
    def identity(self) -> str:
        return canonical_json({**self._spec.identity(), "digest": self._model.digest})

    def complete(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        """Yield completions batch by batch.

        What is drawn is fixed by the request, so that it does not depend on its batch but for rounding.
        """
        policy = self._loaded()
        alike: dict[SamplingSpec, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            alike[request.sampling].append(index)
        for sampling, indices in alike.items():
            fitting: list[tuple[int, list[int]]] = []
            for index in indices:
                ids = policy.prompt_ids(self._guarded(policy, requests[index]))
                if len(ids) + sampling.max_tokens > policy.context:
                    yield index, Completion("", "no_room", 0, 0)
                else:
                    fitting.append((index, ids))
            for first in range(0, len(fitting), self._spec.batch_size):
                yield from self._batch(policy, requests, fitting[first : first + self._spec.batch_size], sampling)

    def _guarded(self, policy: Policy, request: ChatRequest) -> list[Message]:
        """Return the messages without markers by which a seed or a text could end its turn."""
        guard = SpecialTokenGuard(policy.tokenizer.all_special_tokens)
        return [Message(role=turn.role, content=guard.neutralize(turn.content)[0]) for turn in request.messages]

    def _batch(
        self,
        policy: Policy,
        requests: Sequence[ChatRequest],
        batch: list[tuple[int, list[int]]],
        sampling: SamplingSpec,
    ) -> Iterator[tuple[int, Completion]]:
        def steering(rows: list[int], width: int) -> LogitsProcessor:
            draw = None
            if sampling.temperature:
                uniforms = [_uniforms(requests[batch[row][0]].drawing_seed, sampling.max_tokens) for row in rows]
                numbers = torch.tensor(numpy.array(uniforms), dtype=torch.float32).to(policy.device)
                draw = NucleusDraw(numbers, width, sampling.temperature, sampling.top_p)
            return PresencePenalty(sampling.presence_penalty, width, draw)

        answers = generate(
            policy,
            [ids for _, ids in batch],
            max_new_tokens=sampling.max_tokens,
            batch_size=self._spec.batch_size,
            steering=steering,
        )
        for (index, ids), answer in zip(batch, answers, strict=True):
            finish = "stop" if answer.finished else "length"
            yield index, Completion(answer.text, finish, len(ids), answer.tokens)

    def _loaded(self) -> Policy:
        if self._policy is None:
            logging.disable_progress_bar()
            spec = AnsweringSpec(**self._spec.model_dump(include={"precision", "quantization", "batch_size"}))
            loaded = load_teacher(self._model, spec)
            self._policy = Policy(loaded.model, loaded.tokenizer, loaded.device, loaded.device.type)
        return self._policy


def _uniforms(seed: int, count: int) -> numpy.ndarray:
    digest = hashlib.sha256(f"{seed}|generator".encode()).digest()
    return numpy.random.default_rng(int.from_bytes(digest[:16])).random(count)
